"""`winnow subset shards`: from a subset file and downloaded shards to the shards that training reads, as
DataComp's resharder makes them.

    winnow subset shards subset.npy shards/ out/

Resharding is a recipe with one operator, `subset.Copies`: how often the subset lists each sample. A rule
keeps the samples that it lists at least once, and `export.repeats` writes each of them as often as it is
listed. A recipe of your own can say the same, beside other rules.

    out/00000000.tar ...  10,000 samples each, and the files beside them (see pipeline/export/tars.py)
    out/sample_ids.npy    a copy of the subset file; users of train.py keep it under this name
    out/available.npy     the uids that are in these shards, as often as they are
    out/lost.npy          the uids of the subset that no shard of the pool has: their links are dead
    out/*.npy.winnow.json the notes by which Winnow knows these three files as its own

Differs: the resharder names every sample <uid>-<number of the copy>, from 0; here a sample that is there once
    is <uid>, and copies are <uid>-0, <uid>-1. Training reads either.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

from jobs.steps import check_exports, compute_missing, decide_and_export
from pipeline.export.places.file import check_file, writing_file
from pipeline.export.subset_algebra import Combination, combine, mapped
from pipeline.export.tars import TarsResult
from pipeline.plan.session import Session
from pipeline.recipe.load import parse
from pipeline.recipe.sections import Recipe
from pipeline.run.executor import Executor
from pipeline.storage.folder import Folder

ASKED, AVAILABLE, LOST = "sample_ids.npy", "available.npy", "lost.npy"


@dataclass(frozen=True)
class Resharding:
    """The shards written, and how much of the subset the pool has.

    asked       rows of the subset file
    available   how many of them the pool has
    lost        the rows that it lacks
    pending     shards of the pool that could not be read -> why
    """

    shards: TarsResult
    asked: int
    available: int
    lost: Combination
    pending: Mapping[str, str]


def recipe_of(subset: str, pool: Sequence[str], out: str, store: str, samples_per_shard: int) -> Recipe:
    """The recipe that reshards a pool to a subset."""
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


def reshard(session: Session, executor: Executor) -> Resharding:
    """Write the shards of a session of `recipe_of`. Raises RecipeError if the subset file is not one."""
    out = Folder(session.recipe.export.shards or "")
    subset = str(session.recipe.operator("subset").model_dump()["file"])
    with mapped(subset) as rows:  # a mistake shows before the pool is read
        asked = len(rows)
    check_exports(session)
    for name in (ASKED, LOST):
        check_file(_url(out, name), "OUT")
    log = compute_missing(session, executor)
    decided, written = decide_and_export(log.session, executor, log.pending)
    _copy_subset(subset, out)
    lost = combine([subset, _url(out, AVAILABLE)], "minus", _url(out, LOST))
    return Resharding(
        shards=cast(TarsResult, written["shards"]),
        asked=asked,
        available=asked - lost.rows,
        lost=replace(lost, path=out.path(LOST)),
        pending=decided.pending,
    )


def _url(out: Folder, relative: str) -> str:
    """The path of a file with its protocol, as other modules take it."""
    return str(out.fs.unstrip_protocol(out.path(relative)))


def _copy_subset(subset: str, out: Folder) -> None:
    """Put the subset file beside the shards, byte for byte."""
    source = Folder(subset)
    with writing_file(_url(out, ASKED), "OUT", {"export": "asked"}) as aside:
        source.fs.get_file(source.base, aside)
