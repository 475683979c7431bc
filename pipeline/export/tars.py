"""`export.shards`: the kept samples, in pool order, in full tars that training reads.

With `export.repeats`, a sample stands there as often as that column says, one copy after the other.

    result = export_shards(session, executor)

    00000000.tar         members byte for byte, named <uid>.<extension>; fixed headers
    00000000.parquet     row i describes sample i: its origin, img2dataset's columns, every score
    00000000_stats.json  img2dataset's counts; written last: a tar that has them is complete
    sizes.json           samples per tar: open_clip reads the size of its training set here
    meta.json            number of tars and their names: DataComp's train.py reads them here
    _winnow.json         the manifest: which decision and which scores these are, each file's digest, and
                         `complete`

The cut into tars follows from the counts of samples alone. So each tar is a task of its own that reads only
the byte ranges it needs, and an export that was killed resumes and ends with the same bytes. An earlier
export in the folder stays until the new one is whole (`places/folder.py`).
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson

from pipeline.errors import RecipeError, ShardError
from pipeline.export.exporter import Report, Watch
from pipeline.export.kept import written_counts
from pipeline.export.places.folder import MANIFEST, ExportFolder, export_folder
from pipeline.export.places.inputs import Inputs, operators_of
from pipeline.export.places.stage import Stage, numbers
from pipeline.export.scores import ScoreColumns
from pipeline.export.tar_writer import STATS_SUFFIX, OutputTar, ShardRows, TarBuilder
from pipeline.plan.session import Session
from pipeline.pool.shards import Shard
from pipeline.run.executor import Executor
from pipeline.storage.folder import Folder
from pipeline.storage.footers import LOCAL_READS, REQUESTS

KEY = "export.shards"
SIZES, META = "sizes.json", "meta.json"
WITHOUT_CAPTION = "without_caption"  # of a manifest, if there are such samples
LOG = logging.getLogger("winnow.export")
SUFFIXES = (".tar", ".parquet", STATS_SUFFIX)


@dataclass(frozen=True)
class TarsResult:
    """The tars in the folder (`shards`) and the samples in them.

    `written`: tars that this run wrote. `skipped`: tars that were complete before. `without_caption`: samples
    whose caption is null; such a sample has no txt, unless its own txt was too long to be read."""

    path: str
    shards: int
    samples: int
    written: int
    skipped: int
    without_caption: int = 0


class TarsExporter:
    """See exporter.Exporter."""

    name = "shards"

    def check(self, session: Session) -> None:
        """See exporter.Exporter."""
        _place(session).check()

    def write(self, session: Session, executor: Executor, watch: Watch) -> TarsResult:
        """See exporter.Exporter. Tars are tasks of the executor."""
        samples = sum(written_counts(session).values())
        with watch("export", -(-samples // session.recipe.export.samples_per_shard), "shards") as report:
            return export_shards(session, executor, report)


def export_shards(session: Session, executor: Executor, report: Report | None = None) -> TarsResult:
    """Write `export.shards`. Raises RecipeError for a folder that holds something else. Raises ShardError if
    shards of the pool cannot be read, after all other tars are written; an earlier export stays."""
    place, export = _place(session), session.recipe.export
    tars = cut_tars(session.shards, written_counts(session), export.samples_per_shard)
    scores = ScoreColumns(session)
    inputs = Inputs(session, {*scores.by_operator, *operators_of(session, [export.repeats, export.caption])})
    return write_tars(
        place,
        _manifest(session, inputs, tars),
        f"{KEY} of {session.recipe.name}",
        tars,
        partial(TarBuilder, session),
        Work(executor, report, partial(inputs.verify, KEY)),
    )


@dataclass(frozen=True)
class Work:
    """How tars are built: on which executor, who is told of each, and what is asked before they take the
    place of an earlier export."""

    executor: Executor
    report: Report | None
    verify: Callable[[], None]


def write_tars(
    place: ExportFolder,
    manifest: Mapping[str, Any],
    purpose: str,
    tars: Sequence[OutputTar],
    builder_in: Callable[[str], TarBuilder],
    work: Work,
) -> TarsResult:
    """Write tars into a folder. `builder_in`: a folder -> what builds tars there. Raises as `export_shards`
    does."""
    with place.writing(manifest, purpose) as stage:
        missing = [tar for tar in tars if not stage.files.issuperset(files_of(tar.name))]
        if not stage.complete:
            failed = _build(missing, builder_in(stage.path), work.executor, stage, work.report)
            if failed:
                stage.save()
                raise _failed(place.key, failed, len(tars))
            _describe(stage, tars)
            stage.finish(work.verify, {WITHOUT_CAPTION: _without_caption(stage.folder, tars) or None})
        without = stage.manifest.get(WITHOUT_CAPTION, 0)
    return TarsResult(
        path=place.path,
        shards=len(tars),
        samples=sum(tar.rows for tar in tars),
        written=len(missing),
        skipped=len(tars) - len(missing),
        without_caption=without if type(without) is int else 0,
    )


def _without_caption(folder: Folder, tars: Sequence[OutputTar]) -> int:
    """The samples without a caption, as the footers of the tables beside the tars say. Some of them may be of
    an earlier run."""

    def of_one(tar: OutputTar) -> int:
        footer = folder.parquet_footer(f"{tar.name}.parquet")
        column = footer.schema.names.index("caption")
        groups = [footer.row_group(number).column(column) for number in range(footer.num_row_groups)]
        return sum(group.statistics.null_count for group in groups)

    with ThreadPoolExecutor(LOCAL_READS if folder.local else REQUESTS) as pool:
        return sum(pool.map(of_one, tars))


def _failed(key: str, failed: Mapping[str, str], tars: int) -> ShardError:
    """The error if tars failed. `failed`: why, by the tar's name; `tars`: how many there are."""
    reasons = "\n".join(f"  {name}.tar: {failed[name]}" for name in sorted(failed))
    return ShardError(f"{key}: {len(failed)} of {tars} not written:\n{reasons}")


def _build(
    tars: Sequence[OutputTar], builder: TarBuilder, executor: Executor, stage: Stage, report: Report | None
) -> dict[str, str]:
    """Build tars as tasks of the executor; returns the errors of those that failed, by name."""
    failed: dict[str, str] = {}
    for done in executor.each(builder.build, tars):
        stage.note(done.contents)
        if done.error is not None:
            failed[done.name] = done.error
            LOG.warning("%s.tar failed: %s", done.name, done.error)
        if report:
            report(done)
    return failed


def cut_tars(shards: Sequence[Shard], counts: Mapping[str, int], size: int) -> list[OutputTar]:
    """The tars to write: `size` samples in each but the last. `counts`: written rows by shard."""
    tars, runs, room = list[OutputTar](), list[ShardRows](), size
    for shard in shards:
        start = 0
        while start < counts[shard.name]:
            stop = min(counts[shard.name], start + room)
            runs.append(ShardRows(shard, start, stop))
            room -= stop - start
            start = stop
            if not room:
                tars.append(OutputTar(len(tars), tuple(runs)))
                runs, room = [], size
    return [*tars, OutputTar(len(tars), tuple(runs))] if runs else tars


# --- the folder -----------------------------------------------------------------------------------


def _place(session: Session) -> ExportFolder:
    """The folder of the export. Raises RecipeError if the recipe has none."""
    path = session.recipe.export.shards
    return export_folder(path, KEY, MANIFEST, partial(_names, path=path))


def _names(manifest: Mapping[str, Any], path: str | None = None) -> Iterator[str]:
    """The files that a manifest names. Manifests of earlier versions do not say which export they are of.
    Raises RecipeError for that of a search."""
    if manifest.get("export") == "search":
        raise RecipeError(f"{KEY}: {path} holds what a search wrote; name another folder, or empty this one")
    if manifest.get("export", "shards") != "shards" or "decision" not in manifest:
        raise ValueError
    yield from names_of(manifest)


def names_of(manifest: Mapping[str, Any]) -> Iterator[str]:
    """The files that the manifest of a folder of tars names."""
    for number in numbers(manifest["shards"]):
        yield from files_of(f"{number:08d}")
    yield from (SIZES, META)


def files_of(tar: str) -> list[str]:
    """The files of one tar, by its name without the suffix."""
    return [f"{tar}{suffix}" for suffix in SUFFIXES]


def _manifest(session: Session, inputs: Inputs, tars: Sequence[OutputTar]) -> dict[str, Any]:
    """Everything that the folder's bytes depend on."""
    repeats = session.recipe.export.repeats
    return {
        "export": "shards",
        **inputs.manifest,
        **({"repeats": repeats} if repeats else {}),
        **session.recipe.export.chosen_caption(),
        "samples_per_shard": session.recipe.export.samples_per_shard,
        "shards": len(tars),
        "samples": sum(tar.rows for tar in tars),
    }


def _describe(stage: Stage, tars: Sequence[OutputTar]) -> None:
    """Write the two files that training reads first, once every tar is there."""
    sizes = {f"{tar.name}.tar": tar.rows for tar in tars}
    meta = {"output_shard_count": len(tars), "output_shard_format": "{:08d}.tar"}
    stage.publish(SIZES, orjson.dumps(sizes, option=orjson.OPT_INDENT_2))
    stage.publish(META, orjson.dumps(meta, option=orjson.OPT_INDENT_2))
