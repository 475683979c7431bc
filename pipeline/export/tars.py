"""`export.shards`: the kept samples, in pool order, in full tars that training reads.

With `export.repeats`, a sample stands there as often as that column says, one copy after the other.

    result = export_shards(session, executor)

    00000000.tar         members byte for byte, named <uid>.<extension>; fixed headers
    00000000.parquet     row i describes sample i: its origin, img2dataset's columns, every score
    00000000_stats.json  img2dataset's counts; written last: a tar that has them is complete
    sizes.json           samples per tar: open_clip reads the size of its training set here
    meta.json            number of tars and their names: DataComp's train.py reads them here
    _winnow.json         which decision and which scores these are; written first

The cut into tars follows from the counts of samples alone. So each tar is a task of its own that reads only
the byte ranges it needs, and an export that was killed resumes and ends with the same bytes.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from pipeline.errors import RecipeError, ShardError
from pipeline.export.exporter import Report, Watch
from pipeline.export.kept import written_counts
from pipeline.export.tar_writer import STATS_SUFFIX, OutputTar, ShardRows, TarBuilder
from pipeline.plan.session import Session
from pipeline.pool.shards import Shard
from pipeline.run.executor import Executor
from pipeline.storage.folder import Folder

MANIFEST, SIZES, META = "_winnow.json", "sizes.json", "meta.json"
LOG = logging.getLogger("winnow.export")
SUFFIXES = (STATS_SUFFIX, ".parquet", ".tar")


@dataclass(frozen=True)
class TarsResult:
    """The tars in the folder (`shards`) and the samples in them.

    `written`: tars that this run wrote. `skipped`: tars that were complete before."""

    path: str
    shards: int
    samples: int
    written: int
    skipped: int


class TarsExporter:
    """See exporter.Exporter."""

    name = "shards"

    def write(self, session: Session, executor: Executor, watch: Watch) -> TarsResult:
        """See exporter.Exporter. Tars are tasks of the executor."""
        samples = sum(written_counts(session).values())
        with watch(-(-samples // session.recipe.export.samples_per_shard)) as report:
            return export_shards(session, executor, report)


def export_shards(session: Session, executor: Executor, report: Report | None = None) -> TarsResult:
    """Write `export.shards`. Raises RecipeError for a folder that holds something else. Raises ShardError if
    shards of the pool cannot be read, after all other tars are written."""
    path = session.recipe.export.shards
    if path is None:
        raise RecipeError("export.shards is missing: name the folder to write")
    tars = cut_tars(session.shards, written_counts(session), session.recipe.export.samples_per_shard)
    out, builder = Folder(path), TarBuilder(session, path)
    complete = _prepare(out, _manifest(session, builder, tars))
    missing = [tar for tar in tars if tar.name not in complete]
    failed = _build(missing, builder, executor, report)
    if failed:
        reasons = "\n".join(f"  {name}.tar: {failed[name]}" for name in sorted(failed))
        raise ShardError(f"export.shards: {len(failed)} of {len(tars)} not written:\n{reasons}")
    _finish(out, tars)
    return TarsResult(
        path=path,
        shards=len(tars),
        samples=sum(tar.rows for tar in tars),
        written=len(missing),
        skipped=len(tars) - len(missing),
    )


def _build(
    tars: Sequence[OutputTar], builder: TarBuilder, executor: Executor, report: Report | None
) -> dict[str, str]:
    """Build tars as tasks of the executor; returns the errors of those that failed, by name."""
    failed: dict[str, str] = {}
    for done in executor.each(builder.build, tars):
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


def _manifest(session: Session, builder: TarBuilder, tars: Sequence[OutputTar]) -> dict[str, Any]:
    """Everything that the folder's bytes depend on."""
    repeats = session.recipe.export.repeats
    return {
        "decision": session.decisions,
        **({"repeats": repeats} if repeats else {}),
        "samples_per_shard": session.recipe.export.samples_per_shard,
        "shards": len(tars),
        "samples": sum(tar.rows for tar in tars),
        "scores": builder.scores.part_counts(session),
    }


def _prepare(out: Folder, manifest: Mapping[str, Any]) -> set[str]:
    """Empty the folder of another export's files; returns the names of the tars that are complete already.
    Raises RecipeError for a folder of anything else."""
    out.remove_leftovers()
    files = out.file_names()
    if MANIFEST in files:
        before = _read_manifest(out)
        if before == manifest:
            return {name.removesuffix(STATS_SUFFIX) for name in files if name.endswith(STATS_SUFFIX)}
        ours = [f"{i:08d}{s}" for s in SUFFIXES for i in range(before["shards"])]
        for name in (SIZES, META, *ours, MANIFEST):
            if name in files:
                out.fs.rm_file(out.path(name))
    elif files:
        raise RecipeError(
            f"export.shards: {out.base} is not empty and was not written by Winnow (it has {min(files)}); "
            "name another folder, or empty this one"
        )
    out.publish(MANIFEST, orjson.dumps(manifest, option=orjson.OPT_INDENT_2))
    return set()


def _read_manifest(out: Folder) -> dict[str, Any]:
    try:
        manifest = orjson.loads(out.read(MANIFEST))
        return {**manifest, "shards": int(manifest["shards"])}
    except (ValueError, KeyError, TypeError):
        raise RecipeError(f"export.shards: {out.path(MANIFEST)} is garbled; empty the folder") from None


def _finish(out: Folder, tars: Sequence[OutputTar]) -> None:
    """Write the two files that training reads first, once every tar is there."""
    sizes = {f"{tar.name}.tar": tar.rows for tar in tars}
    meta = {"output_shard_count": len(tars), "output_shard_format": "{:08d}.tar"}
    out.publish(SIZES, orjson.dumps(sizes, option=orjson.OPT_INDENT_2))
    out.publish(META, orjson.dumps(meta, option=orjson.OPT_INDENT_2))
    out.remove_leftovers(
        also_live=True
    )  # half-written files of workers that died: other workers have written their tars
