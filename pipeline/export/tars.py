"""Filtered shards: the kept samples, in pool order, in well-filled tars that training reads. With
`export.repeats` a sample is there as often as that column says, one copy after the other.

    result = export_shards(session, executor)

    00000000.tar         members byte for byte, named <uid>.<extension>; fixed headers
    00000000.parquet     row i describes sample i: its origin, img2dataset's columns, every score
    00000000_stats.json  img2dataset's counts; written last: a tar that has them is complete
    sizes.json           samples by tar: open_clip reads the size of its training set here
    meta.json            number of tars and their names: DataComp's train.py reads them here
    _winnow.json         which decision and which scores these are; written first

The cut into tars follows from the counts of samples alone. So each tar is a task of its own
that reads only the byte ranges it needs, and an export that was killed goes on to the same bytes.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from pipeline.errors import RecipeError, ShardError
from pipeline.export.kept import written_counts
from pipeline.export.tar_writer import STATS, Output, Packer, Part, Written
from pipeline.plan.session import Session
from pipeline.pool.shards import Shard
from pipeline.run.executor import Executor
from pipeline.storage.folder import Folder

LOG = logging.getLogger("winnow.export")
MANIFEST, SIZES, META = "_winnow.json", "sizes.json", "meta.json"
SUFFIXES = (STATS, ".parquet", ".tar")


def export_shards(
    session: Session, executor: Executor, report: Callable[[Written], None] | None = None
) -> dict[str, Any]:
    """Write `export.shards`; `report` hears of each tar. Returns path, shards, samples, and how
    many tars were written and skipped. Raises RecipeError for a folder that holds something else,
    and ShardError at the end, when the rest is written, if shards of the pool cannot be read."""
    path = session.recipe.export.shards
    if path is None:
        raise RecipeError("export.shards is missing: name the folder to write")
    outputs = cut(session.shards, written_counts(session), session.recipe.export.samples_per_shard)
    out, packer = Folder(path), Packer(session, path)
    done = _prepare(out, _manifest(session, packer, outputs))
    todo = [output for output in outputs if output.name not in done]
    failed: dict[str, str] = {}
    for written in executor.each(packer.run, todo):
        if written.error is not None:
            failed[written.name] = written.error
            LOG.warning("%s.tar failed: %s", written.name, written.error)
        if report:
            report(written)
    if failed:
        reasons = "\n".join(f"  {name}.tar: {failed[name]}" for name in sorted(failed))
        raise ShardError(f"export.shards: {len(failed)} of {len(outputs)} not written:\n{reasons}")
    sizes = {f"{output.name}.tar": output.rows for output in outputs}
    meta = {"output_shard_count": len(outputs), "output_shard_format": "{:08d}.tar"}
    out.publish(SIZES, orjson.dumps(sizes, option=orjson.OPT_INDENT_2))
    out.publish(META, orjson.dumps(meta, option=orjson.OPT_INDENT_2))
    out.remove_leftovers(also_live=True)  # of workers that died on the way: others have written their tars
    counts = {"shards": len(outputs), "samples": sum(sizes.values())}
    return {"path": path, **counts, "written": len(todo), "skipped": len(outputs) - len(todo)}


def cut(shards: Sequence[Shard], counts: Mapping[str, int], size: int) -> list[Output]:
    """The tars to write: `size` samples in each but the last. `counts`: samples to write by shard."""
    outputs, parts, room = list[Output](), list[Part](), size
    for shard in shards:
        start = 0
        while start < counts[shard.name]:
            stop = min(counts[shard.name], start + room)
            parts.append(Part(shard, start, stop))
            room, start = room - (stop - start), stop
            if not room:
                outputs.append(Output(len(outputs), tuple(parts)))
                parts, room = [], size
    return [*outputs, Output(len(outputs), tuple(parts))] if parts else outputs


# --- the folder -----------------------------------------------------------------------------------


def _manifest(session: Session, packer: Packer, outputs: Sequence[Output]) -> dict[str, Any]:
    """What the folder's bytes depend on. Scores by count: under a key, parts are only added."""
    shards = {shard.name for shard in session.shards}
    folders = [session.folder(name) for name in packer.scores]
    stored = {f: len(session.store.part_names(f) & shards) for f in folders}
    return {
        "decision": session.decisions,
        **({"repeats": repeats} if (repeats := session.recipe.export.repeats) else {}),
        "samples_per_shard": session.recipe.export.samples_per_shard,
        "shards": len(outputs),
        "samples": sum(output.rows for output in outputs),
        "scores": stored,
    }


def _prepare(out: Folder, manifest: Mapping[str, Any]) -> set[str]:
    """Make the folder ready for what the manifest says; returns the names of the complete tars."""
    out.remove_leftovers()
    found = out.file_names()
    if MANIFEST in found:
        before = _read_manifest(out)
        if before == manifest:
            return {name.removesuffix(STATS) for name in found if name.endswith(STATS)}
        ours = [f"{i:08d}{s}" for s in SUFFIXES for i in range(before["shards"])]
        for name in (SIZES, META, *ours, MANIFEST):
            if name in found:
                out.fs.rm_file(out.path(name))
    elif found:
        raise RecipeError(
            f"export.shards: {out.base} is not empty and no export of Winnow's (it has "
            f"{min(found)}); name another folder, or empty this one"
        )
    out.publish(MANIFEST, orjson.dumps(manifest, option=orjson.OPT_INDENT_2))
    return set()


def _read_manifest(out: Folder) -> dict[str, Any]:
    try:
        found = orjson.loads(out.read(MANIFEST))
        return {**found, "shards": int(found["shards"])}
    except (ValueError, KeyError, TypeError):
        raise RecipeError(f"export.shards: {out.path(MANIFEST)} is garbled; empty the folder") from None
