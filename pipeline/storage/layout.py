"""Every path below a store, in one place.

    samples/<shard>.parquet                   SAMPLE_SCHEMA, one row per sample; damage is noted in the footer
    columns/<name>-<key>/<shard>.parquet      shard, row, what the operator writes, and `<name>.error`
    columns/<name>-<key>/meta.json            what the key stands for
    stats/<name>-<key>.parquet                the table of one Stat
    decisions/<recipe>-<key>/verdicts/        `keep` and one verdict per rule, in the order of the samples
    decisions/<recipe>-<key>/shards.parquet   which of these files holds a shard: small shards share one
    decisions/<recipe>-<key>/rules.json       cuts and counts; written last: a decision with it is complete
    effects/<recipe>-<key>/                   the tables of `winnow effects`
    packs/<folder>.parquet                    which pack holds a part of `samples` or of one of `columns`
    packs/<folder>/<number>.parquet           a pack: many small parts in one file (see packs.py)
    footers/<folder>.json                     the footers of a folder's parts, each read once (see footers.py)
    runs/<start>-<pid>.json                   how long each run took
    digests.json                              digests of large files that operators name (see digests.py)
    datacomp.json                             rows of each file of a DataComp folder, counted once

A part is the table of one shard in `samples`, or in a folder of `columns`. Paths are relative
to the store.
"""

SAMPLES = "samples"
RUNS = "runs"
DIGESTS = "digests.json"
DATACOMP = "datacomp.json"


def columns_folder(name: str, key: str) -> str:
    """The folder that holds an operator's parts."""
    return f"columns/{name}-{key}"


def part(folder: str, shard: str) -> str:
    """A shard's file in a folder."""
    return f"{folder}/{shard}.parquet"


def meta(folder: str) -> str:
    """The file that says in clear text what the key in a folder's name stands for."""
    return f"{folder}/meta.json"


def stat(name: str, key: str) -> str:
    """The file of a Stat's table."""
    return f"stats/{name}-{key}.parquet"


def decision_folder(recipe: str, key: str) -> str:
    """The folder of one decision."""
    return f"decisions/{recipe}-{key}"


def verdicts(decision: str, first: str) -> str:
    """The verdicts on some shards, of which `first` is the first."""
    return f"{decision}/verdicts/{first}.parquet"


def rules(decision: str) -> str:
    """The file with a decision's cuts and counts."""
    return f"{decision}/rules.json"


def decided_shards(decision: str) -> str:
    """The table that says which file of a decision holds a shard's verdicts."""
    return f"{decision}/shards.parquet"


def effects_folder(decision: str) -> str:
    """The folder with the tables of `winnow effects` for a decision."""
    return decision.replace("decisions/", "effects/", 1)


def pack_index(folder: str) -> str:
    """The table that says which pack holds a shard's part of a folder."""
    return f"packs/{folder}.parquet"


def pack(folder: str, number: int) -> str:
    """One pack of a folder's parts."""
    return f"packs/{folder}/{number:06d}.parquet"


def footer_cache(folder: str) -> str:
    """The file that remembers the footers of a folder's parts."""
    return f"footers/{folder}.json"


def run_log(run: str) -> str:
    """The log of one run."""
    return f"{RUNS}/{run}.json"
