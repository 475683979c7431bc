"""Every path below a store, in one place.

    samples/<shard>.parquet                   SAMPLE_SCHEMA, one row per sample; damage is noted in the footer
    columns/<name>-<key>/<shard>.parquet      shard, row, what the operator writes, and `<name>.error`
    columns/<name>-<key>/meta.json            what the key stands for
    stats/<name>-<key>.parquet                the table of one Stat
    stats/<name>-<key>.json                   what the key stands for
    decisions/<recipe>-<key>/verdicts/        `keep` and one verdict per rule, in the order of the samples
    decisions/<recipe>-<key>/shards.parquet   which of these files holds a shard: small shards share one
    decisions/<recipe>-<key>/rules.json       cuts and counts; written last: a decision with it is complete
    effects/<recipe>-<key>/                   the tables of `winnow effects`
    packs/<folder>.parquet                    which pack holds a part of `samples` or of one of `columns`
    packs/<folder>/<number>.parquet           a pack: many small parts in one file (see packs.py)
    pieces/<pass>/<shard>/<start>.parquet     columns of shards that are not whole yet (see run/pieces.py)
    groups/<pass>/rows/<run>.parquet          the rows of a run of shards, for a Group (see run/groups)
    groups/<pass>/results/<partition>.parquet  a Group's results, until they are published by shard
    footers/<folder>.json                     the footers of a folder's parts, each read once (see footers.py)
    runs/<start>-<pid>.json                   how long each run took
    store.json                                the pool that the store belongs to (see plan/store_pool.py)
    sources.json                              states of files that changed without a change of content
    digests.json                              digests of large files that operators name (see digests.py)
    datacomp.json                             state, rows and content of each file of a DataComp folder
    downloads.json                            URLs that a download did not fetch (see pool/img2dataset.py)
    damaged/<path>                            a file that was not as it was written, set aside
    .winnow.lock                              who is writing to the store; gone at the end (see locks/lock.py)

A part is the table of one shard in `samples`, or in a folder of `columns`. Paths are relative to the store.
Every file carries a seal over its bytes (seals.py).
"""

import re

SAMPLES = "samples"
COLUMNS = "columns"
MEETINGS = "groups"
RUNS = "runs"
DIGESTS = "digests.json"
DATACOMP = "datacomp.json"
SOURCES = "sources.json"
DOWNLOADS = "downloads.json"
POOL = "store.json"
LOCK = ".winnow.lock"
DAMAGED = "damaged"
_PACK = re.compile(r"packs/(.+)/(\d{6,})\.parquet")
_ID = r"[^/]+-[0-9a-f]{16}"
_UNITS = [  # every path that Winnow writes in a store; the group is the unit
    re.compile(pattern, re.DOTALL)
    for pattern in (
        rf"(samples|columns/{_ID}|decisions/{_ID}|effects/{_ID})/.+\.parquet",
        rf"(columns/{_ID})/meta\.json",
        rf"(decisions/{_ID})/rules\.json",
        rf"(stats/{_ID})\.(?:parquet|json)",
        rf"packs/(samples|columns/{_ID})(?:/\d{{6,}})?\.parquet",
        rf"footers/(?:packs/)?(samples|columns/{_ID}|decisions/{_ID}|effects/{_ID})(?:/verdicts)?\.json",
        r"(pieces/[0-9a-f]{16})/.+\.parquet",
        r"footers/(pieces/[0-9a-f]{16})\.json",
        r"(groups/[0-9a-f]{16})/(?:rows|results)/\d{6,}\.parquet",
        r"footers/(groups/[0-9a-f]{16})\.json",
        r"(runs|damaged)/.+",
        r"((?:digests|datacomp|store|sources|downloads|footers/stats)\.json)",
    )
]
MANIFEST = "_winnow.json"  # of an exported folder, other than an index's
ON_GPU = "on_gpu"  # a note in the footer of a part: a network computed it on a GPU
NOTE = ".winnow.json"  # what the name of the note beside a single exported file ends in


def columns_folder(name: str, key: str) -> str:
    """The folder that holds an operator's parts."""
    return f"{COLUMNS}/{name}-{key}"


def is_columns_of(name: str, folder: str) -> bool:
    """Whether a folder holds parts of an operator of that name, under whatever key."""
    return re.fullmatch(rf"{COLUMNS}/{re.escape(name)}-[0-9a-f]{{16}}", folder) is not None


def part(folder: str, shard: str) -> str:
    """A shard's file in a folder."""
    return f"{folder}/{shard}.parquet"


def meta(folder: str) -> str:
    """The file that says in clear text what the key in a folder's name stands for."""
    return f"{folder}/meta.json"


def stat_unit(name: str, key: str) -> str:
    """A Stat's files without their suffixes: the unit of its results."""
    return f"stats/{name}-{key}"


def stat(name: str, key: str) -> str:
    """The file of a Stat's table."""
    return f"{stat_unit(name, key)}.parquet"


def stat_meta(name: str, key: str) -> str:
    """The file that says in clear text what the key in the name of a Stat's table stands for."""
    return f"{stat_unit(name, key)}.json"


def decision_folder(recipe: str, key: str) -> str:
    """The folder of one decision."""
    return f"decisions/{recipe}-{key}"


def verdicts_folder(decision: str) -> str:
    """The folder of a decision's verdicts."""
    return f"{decision}/verdicts"


def verdicts(decision: str, first: str) -> str:
    """The verdicts on some shards, of which `first` is the first."""
    return part(verdicts_folder(decision), first)


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


def packs_folder(folder: str) -> str:
    """The folder of the packs of a folder's parts."""
    return f"packs/{folder}"


def pack_name(number: int) -> str:
    """The name of a pack, as a part of `packs_folder`."""
    return f"{number:06d}"


def pack(folder: str, number: int) -> str:
    """One pack of a folder's parts."""
    return part(packs_folder(folder), pack_name(number))


def packed_in(relative: str) -> tuple[str, int] | None:
    """(folder, number) of the pack at a path, or None if the path is not one of a pack."""
    found = _PACK.fullmatch(relative)
    return (found[1], int(found[2])) if found else None


def unit_of(relative: str) -> str | None:
    """The results that a file belongs to, which are needed or removed together: `samples`, the folder of an
    operator, decision, effects or pass, `stats/<name>-<key>`, `runs`, `damaged`, or the file itself. None for
    a path that Winnow does not write."""
    return next((found[1] for pattern in _UNITS if (found := pattern.fullmatch(relative))), None)


def footer_cache(folder: str) -> str:
    """The file that remembers the footers of a folder's parts."""
    return f"footers/{folder}.json"


def pieces_folder(key: str) -> str:
    """The folder for the pieces of one pass: columns of shards that are not whole yet."""
    return f"pieces/{key}"


def groups_folder(key: str) -> str:
    """The folder for the files between the tasks of a Group's pass."""
    return f"{MEETINGS}/{key}"


def damaged(relative: str) -> str:
    """Where a file of the store is set aside that is not as it was written."""
    return f"{DAMAGED}/{relative}"


def run_log(run: str) -> str:
    """The log of one run."""
    return f"{RUNS}/{run}.json"
