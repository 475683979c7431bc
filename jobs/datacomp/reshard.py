"""From a subset file and downloaded shards to the shards that training reads, as DataComp's resharder makes them.

    winnow subset shards subset.npy shards/ out/

It is a recipe of one operator: how often the subset asks for each sample (`subset.Copies`), a rule that this be
once or more, and an export that repeats each sample as often. A recipe of your own may say the same, beside other
rules.

    out/00000000.tar ...  10,000 samples each, with sizes.json, meta.json, ..._stats.json (see pipeline/export/tars.py)
    out/sample_ids.npy    the subset that was asked for, as train.py's users keep it
    out/available.npy     the uids that are in these shards, as often as they are
    out/lost.npy          those asked for that no shard of the pool has: their links are dead
"""

from collections.abc import Sequence
from typing import Any

from jobs.steps import decide_and_export, fill
from pipeline.export.subset_algebra import combine, mapped
from pipeline.plan.session import Session
from pipeline.recipe.load import parse
from pipeline.recipe.sections import Recipe
from pipeline.run.executor import Executor
from pipeline.storage.folder import Folder

ASKED, AVAILABLE, LOST = "sample_ids.npy", "available.npy", "lost.npy"


def recipe_of(subset: str, pool: Sequence[str], out: str, store: str, samples_per_shard: int) -> Recipe:
    """The recipe that resharding is."""
    return parse(
        {
            "name": "subset",
            "pool": {"shards": list(pool), "store": store},
            "compute": {"subset": {"use": "subset.Copies", "file": subset}},
            "keep": {"subset.copies": {"min": 1}},
            "export": {
                "shards": out,
                "subset": f"{out.rstrip('/')}/{AVAILABLE}",
                "repeats": "subset.copies",
                "samples_per_shard": samples_per_shard,
            },
        }
    )


def reshard(session: Session, executor: Executor, quiet: bool = False) -> dict[str, Any]:
    """Write the shards; returns what was written, how much of the subset the pool has, and the shards that
    could not be read. Raises RecipeError for a file that is no subset."""
    out = Folder(session.recipe.export.shards or "")
    subset = str(session.recipe.operator("subset").model_dump()["file"])
    with mapped(subset) as rows:  # a mistake shows before the pool is read
        asked = len(rows)
    log = fill(session, executor, quiet=quiet)
    decided, written = decide_and_export(session, executor, log.pending, quiet)
    _copy(subset, out)
    available = str(out.fs.unstrip_protocol(out.path(AVAILABLE)))
    lost = combine([subset, available], "minus", str(out.fs.unstrip_protocol(out.path(LOST))))
    return {
        "shards": written["shards"],
        "asked": asked,
        "available": asked - lost["rows"],
        "lost": {**lost, "path": out.path(LOST)},
        "pending": decided.pending,
    }


def _copy(subset: str, out: Folder) -> None:
    """The subset beside the shards, byte for byte."""
    source = Folder(subset)
    with out.publishing(ASKED) as aside:
        source.fs.get_file(source.base, aside)
