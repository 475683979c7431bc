"""Filtered shards: the kept samples, in pool order, in well-filled tars that training reads directly.

    result = export_shards(session, executor)

    00000000.tar         members byte for byte, named <uid>.<extension>; fixed headers
    00000000.parquet     row i describes sample i: its origin, img2dataset's columns, every score
    00000000_stats.json  img2dataset's counts; written last: a tar that has them is complete
    sizes.json           samples by tar: open_clip reads the size of its training set here
    meta.json            number of tars and their names: DataComp's train.py reads them here
    _winnow.json         which decision and which scores these are; written first

The cut into tars follows from the counts of kept samples alone. So each tar is a task of its own that
reads only the byte ranges it needs, and an export that was killed goes on to the same bytes.

A sample is named by its uid, as DataComp's resharder does it: names of strangers never become paths,
and equal keys of two shards cannot meet. A caption that only the json holds is added as a `txt`
member, for open_clip would pass the sample over. Members over 256 MiB are left behind.
"""

import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import orjson
import polars as pl

from pipeline.decide import decision_folder
from pipeline.errors import RecipeError, ShardError
from pipeline.execute import Executor
from pipeline.feed import ATTEMPTS, BACKOFF
from pipeline.operator import Writer
from pipeline.session import Session
from pipeline.shards import Shard, iter_fields
from pipeline.source import TarBytes
from pipeline.store import Columns, Files, Store
from pipeline.subset import kept_counts, publishing

MANIFEST, SIZES, META = "_winnow.json", "sizes.json", "meta.json"
STATS, SUFFIXES = "_stats.json", ("_stats.json", ".parquet", ".tar")
SIZE = pl.col("width", "height", "original_width", "original_height")
SAMPLE = "shard row uid key url text width height original_width original_height offset length"
EXTENSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,47}")  # uid, dot and it fit ustar's 100 bytes
Record = Mapping[str, Any]


@dataclass(frozen=True)
class Part:
    """Rows [start, stop) among the kept rows of one shard of the pool."""

    shard: Shard
    start: int
    stop: int


@dataclass(frozen=True)
class Output:
    """One tar to write."""

    number: int
    parts: tuple[Part, ...]

    @property
    def name(self) -> str:
        """Its name, less any suffix."""
        return f"{self.number:08d}"

    @property
    def rows(self) -> int:
        """Its samples."""
        return sum(part.stop - part.start for part in self.parts)


@dataclass(frozen=True)
class Written:
    """What one task came to; `error` says why its tar is not there."""

    name: str
    rows: int = 0
    bytes: int = 0
    error: str | None = None


def export_shards(
    session: Session, executor: Executor, report: Callable[[Written], None] | None = None
) -> dict[str, Any]:
    """Write `export.shards`; `report` hears of each tar. Returns path, shards, samples, and how many
    tars were written and skipped. Raises RecipeError for a folder that holds something else, and
    ShardError at the end, when all else is written, if shards of the pool could not be read."""
    path = session.recipe.export.shards
    if path is None:
        raise RecipeError("export.shards is missing: name the folder to write")
    outputs = cut(session.shards, kept_counts(session), session.recipe.export.samples_per_shard)
    files, task = Files(path), Task(session, path)
    done = _prepare(files, _manifest(session, task, outputs))
    todo = [output for output in outputs if output.name not in done]
    failed: dict[str, str] = {}
    for written in executor.each(task.run, todo):
        if written.error is not None:
            failed[written.name] = written.error
        if report:
            report(written)
    if failed:
        reasons = "\n".join(f"  {name}.tar: {failed[name]}" for name in sorted(failed))
        raise ShardError(f"export.shards: {len(failed)} of {len(outputs)} not written:\n{reasons}")
    sizes = {f"{output.name}.tar": output.rows for output in outputs}
    meta = {"output_shard_count": len(outputs), "output_shard_format": "{:08d}.tar"}
    files.publish(SIZES, orjson.dumps(sizes, option=orjson.OPT_INDENT_2))
    files.publish(META, orjson.dumps(meta, option=orjson.OPT_INDENT_2))
    counts = {"shards": len(outputs), "samples": sum(sizes.values())}
    return {"path": path, **counts, "written": len(todo), "skipped": len(outputs) - len(todo)}


def cut(shards: Sequence[Shard], kept: Mapping[str, int], size: int) -> list[Output]:
    """The tars to write: `size` samples in each but the last. `kept` maps shards to kept samples."""
    outputs, parts, room = list[Output](), list[Part](), size
    for shard in shards:
        start = 0
        while start < kept[shard.name]:
            stop = min(kept[shard.name], start + room)
            parts.append(Part(shard, start, stop))
            room, start = room - (stop - start), stop
            if not room:
                outputs.append(Output(len(outputs), tuple(parts)))
                parts, room = [], size
    return [*outputs, Output(len(outputs), tuple(parts))] if parts else outputs


# --- the folder ------------------------------------------------------------------------------------


def _manifest(session: Session, task: "Task", outputs: Sequence[Output]) -> dict[str, Any]:
    """What the folder's bytes depend on. Scores by count: under one key, parts are only ever added."""
    shards = {shard.name for shard in session.shards}
    folders = {session.folder(name): name for name in task.scores}
    stored = {f: len(session.store.files.names(f, ".parquet") & shards) for f in folders}
    return {
        "decision": task.decisions,
        "samples_per_shard": session.recipe.export.samples_per_shard,
        "shards": len(outputs),
        "samples": sum(output.rows for output in outputs),
        "scores": stored,
    }


def _prepare(files: Files, manifest: Mapping[str, Any]) -> set[str]:
    """Make the folder ready for what the manifest says; returns the names of the complete tars."""
    files.sweep()
    found = files.names("", "")
    if MANIFEST in found:
        before = _read_manifest(files)
        if before == manifest:
            return {name.removesuffix(STATS) for name in found if name.endswith(STATS)}
        ours = [f"{i:08d}{s}" for s in SUFFIXES for i in range(before["shards"])]
        for name in (SIZES, META, *ours, MANIFEST):
            if name in found:
                files.fs.rm_file(files.path(name))
    elif found:
        raise RecipeError(
            f"export.shards: {files.base} is not empty and no export of Winnow's (it has "
            f"{min(found)}); name another folder, or empty this one"
        )
    files.publish(MANIFEST, orjson.dumps(manifest, option=orjson.OPT_INDENT_2))
    return set()


def _read_manifest(files: Files) -> dict[str, Any]:
    try:
        found = orjson.loads(files.read(MANIFEST))
        return {**found, "shards": int(found["shards"])}
    except (ValueError, KeyError, TypeError):
        raise RecipeError(
            f"export.shards: {files.path(MANIFEST)} is garbled; empty the folder"
        ) from None


# --- one tar -----------------------------------------------------------------------------------------


class Task:
    """Writes one output; what all outputs share. Travels to workers."""

    def __init__(self, session: Session, path: str) -> None:
        self.target, self.decisions = Store(path), decision_folder(session)
        self.columns = Columns(session.recipe.pool.store, session.keys)
        self.scores = {
            name: {f"{name}.{short}": t for short, t in operator.writes.items() if not t.is_nested()}
            for name in session.recipe.compute
            if isinstance(operator := session.recipe.operator(name), Writer)
        }

    def run(self, output: Output) -> Written:
        """Write it. Storage is tried again with back-off; what stays wrong is told, not raised."""
        for attempt in range(ATTEMPTS):
            try:
                return self._write(output)
            except (FileNotFoundError, PermissionError, ShardError) as error:
                return Written(output.name, error=str(error))
            except OSError as error:
                reason = f"{type(error).__name__}: {error}"
                time.sleep(BACKOFF * 2**attempt if attempt + 1 < ATTEMPTS else 0)
        return Written(output.name, error=f"{reason} (after {ATTEMPTS} attempts)")

    def _write(self, output: Output) -> Written:
        frame = pl.concat([self._rows(part) for part in output.parts])
        keys = output_keys(frame["uid"])
        with publishing(self.target.files, f"{output.name}.tar") as path, open(path, "wb") as file:
            records = list(self._pack(output, frame, keys, file))
            size = file.tell()
        self.target.write(f"{output.name}.parquet", sidecar(frame, keys, records))
        stats = {"count": len(frame), "successes": len(frame), "failed_to_download": 0}
        stats |= {"failed_to_resize": 0, "status_dict": {"success": len(frame)}}
        self.target.files.publish(f"{output.name}{STATS}", orjson.dumps(stats))
        return Written(output.name, len(frame), size)

    def _rows(self, part: Part) -> pl.DataFrame:
        """The part's samples and scores, null where a shard lacks an operator's columns."""
        name = part.shard.name
        keep = self.columns.store.read(f"{self.decisions}/{name}.parquet", ["keep"])["keep"]
        frame = self.columns.read(name, SAMPLE.split())
        for scores in filter(None, self.scores.values()):
            try:
                frame = frame.hstack(self.columns.read(name, list(scores)))
            except FileNotFoundError:
                frame = frame.with_columns(pl.lit(None, t).alias(n) for n, t in scores.items())
        return frame.filter(keep).slice(part.start, part.stop - part.start)

    def _pack(self, output: Output, frame: pl.DataFrame, keys: Sequence[str], file: Any) -> Iterator[Record]:
        """Write the tar, sample by sample; yields their json records."""
        from webdataset import TarWriter

        rows = zip(keys, frame.iter_rows(named=True), strict=True)
        fixed = {"user": "", "group": "", "mode": 0o644, "mtime": 0}
        with TarWriter(file, encoder=False, keep_meta=True, **fixed) as writer:
            for part in output.parts:
                with TarBytes(part.shard.path) as tar:
                    for key, row in islice(rows, part.stop - part.start):
                        fields = iter_fields(tar.read(row["offset"], row["length"]), row["key"])
                        if not fields:
                            raise ShardError(f"{part.shard.path} has changed: {row['key']} is gone")
                        writer.write({"__key__": key, **members(fields, row["text"])})
                        yield record(fields)
