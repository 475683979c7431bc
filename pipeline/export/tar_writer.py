"""One output tar: which samples it takes, their members byte for byte, and the table beside it.

A sample is named by its uid, as DataComp's resharder does it: names of strangers never become
paths, and equal keys of two shards cannot meet. A caption that only the json holds is added as a
`txt` member, for open_clip would pass the sample over. Members over 256 MiB are left behind.

Written by webdataset's TarWriter with headers that are always the same. It sorts a sample's members
by name, and it writes pax; at these name lengths that is, byte for byte, ustar.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, BinaryIO

import orjson
import polars as pl
from polars._typing import PolarsDataType

from pipeline.errors import ShardError
from pipeline.export.kept import Chosen
from pipeline.operator import Writer
from pipeline.plan.session import Session
from pipeline.pool.kinds.kind import MEMBER_COLUMNS
from pipeline.pool.shards import Shard
from pipeline.storage.retry import persist
from pipeline.storage.store import Store

STATS = "_stats.json"
SIZES = ("width", "height", "original_width", "original_height")
SAMPLE = tuple(dict.fromkeys(("shard", "row", "uid", "key", "url", "text", *SIZES, *MEMBER_COLUMNS)))
TEXTS = ("status", "error_message", "exif", "sha256")
LONGEST = 48  # characters of an extension: uid, its number, and this fit ustar's 100 bytes
EXTENSION = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{LONGEST - 1}}}")
Data = bytes | memoryview
Record = Mapping[str, str]


@dataclass(frozen=True)
class Part:
    """Rows [start, stop) among those written of one shard of the pool."""

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


class Packer:
    """Writes one output; what all outputs share. Travels to workers."""

    def __init__(self, session: Session, path: str) -> None:
        self.target, self.chosen = Store(path), Chosen(session)
        self.columns = session.columns
        self.kind = session.kind
        self.scores = {
            name: scores
            for name in session.recipe.compute
            if isinstance(operator := session.recipe.operator(name), Writer)
            and (scores := _scalars(name, operator))
        }

    def run(self, output: Output) -> Written:
        """Write it. Storage is tried again with back-off; what stays wrong is told, not raised."""
        try:
            return persist(lambda: self._write(output))
        except ShardError as error:
            return Written(output.name, error=str(error))

    def _write(self, output: Output) -> Written:
        frame = pl.concat([self._rows(part) for part in output.parts])
        keys = output_keys(frame["uid"])
        with self.target.root.publishing(f"{output.name}.tar") as path, open(path, "wb") as file:
            records = list(self._pack(output, frame, keys, file))
            size = file.tell()
        self.target.write(f"{output.name}.parquet", sidecar(frame, keys, records))
        self.target.root.publish(f"{output.name}{STATS}", orjson.dumps(stats(len(frame))))
        return Written(output.name, len(frame), size)

    def _rows(self, part: Part) -> pl.DataFrame:
        """The part's samples and scores, null where a shard lacks an operator's columns."""
        name = part.shard.name
        frame = self.columns.read(name, SAMPLE)
        for scores in self.scores.values():
            try:
                frame = frame.hstack(self.columns.read(name, list(scores)))
            except FileNotFoundError:
                frame = frame.with_columns(pl.lit(None, t).alias(n) for n, t in scores.items())
        return frame[self.chosen.rows(name)[part.start : part.stop]]

    def _pack(
        self, output: Output, frame: pl.DataFrame, keys: Sequence[str], file: BinaryIO
    ) -> Iterator[Record]:
        """Write the tar, sample by sample; yields their json records."""
        from webdataset import TarWriter

        rows = zip(keys, frame.iter_rows(named=True), strict=True)
        with TarWriter(file, user="", group="", mode=0o644, mtime=0, encoder=False, keep_meta=True) as writer:
            for part in output.parts:
                with self.kind.members(part.shard) as members_of:
                    for key, row in islice(rows, part.stop - part.start):
                        fields = members_of(row)
                        writer.write({"__key__": key, **members(fields, row["text"])})
                        yield record(fields)


def _scalars(name: str, operator: Writer) -> dict[str, PolarsDataType]:
    """Columns of one value per row, by full name: no embeddings, no lists."""
    return {f"{name}.{short}": t for short, t in operator.writes.items() if not t.is_nested()}


# --- one sample -----------------------------------------------------------------------------------


def output_keys(uids: pl.Series) -> list[str]:
    """The uids; one that comes several times gets -0, -1, ..., as DataComp's resharder has it: no two samples
    of a tar share a key."""
    again, seen, keys = set(uids.filter(uids.is_duplicated())), Counter[str](), []
    for uid in uids:
        keys.append(f"{uid}-{seen[uid]}" if uid in again else uid)
        seen[uid] += 1
    return keys


def members(fields: Sequence[tuple[str, Data]], text: str | None) -> dict[str, Data]:
    """Contents by extension, and the caption as `txt` where there is no such member. An extension
    that is unsafe in a file name is changed, and numbered where that makes it equal to another."""
    found: dict[str, Data] = {}
    taken: set[str] = set()  # readers ignore case
    again: Counter[str] = Counter()
    for suffix, data in sorted(fields, key=lambda field: not EXTENSION.fullmatch(field[0])):
        stem = name = safe_extension(suffix)
        while name.lower() in taken:
            again[stem] += 1
            name = f"{stem}-{again[stem]}"
        taken.add(name.lower())
        found[name] = data
    if text is not None and "txt" not in taken:
        found["txt"] = text.encode()
    return found


def safe_extension(suffix: str) -> str:
    """The extension as it is, if it is safe in a file name, else `x-` and what of it is safe."""
    if EXTENSION.fullmatch(suffix):
        return suffix
    return f"x-{re.sub('[^A-Za-z0-9._-]', '_', suffix)[:LONGEST]}"


def record(fields: Sequence[tuple[str, Data]]) -> Record:
    """Those texts of img2dataset that only the json member has; what is no text is left out."""
    data = next((data for suffix, data in fields if suffix.lower() == "json"), b"{}")
    found = _parse(data)
    texts = {name: found[name] for name in TEXTS if isinstance(found.get(name), str)}
    return {name: text.encode("utf-8", "replace").decode() for name, text in texts.items()}


def _parse(data: Data) -> dict[str, Any]:
    for parse in (orjson.loads, lambda raw: json.loads(str(raw, "utf-8-sig", "replace"))):
        try:  # the second one is for what Python's own json writes: NaN, lone surrogates
            found = parse(data)
        except (ValueError, RecursionError):
            continue
        return found if isinstance(found, dict) else {}
    return {}


def stats(rows: int) -> dict[str, Any]:
    """What img2dataset says of a shard, less its times: equal exports have equal bytes."""
    failed = {"failed_to_download": 0, "failed_to_resize": 0}
    return {"count": rows, "successes": rows, **failed, "status_dict": {"success": rows}}


def sidecar(frame: pl.DataFrame, keys: Sequence[str], records: Sequence[Record]) -> pl.DataFrame:
    """One row per sample of a tar. Sizes are those of the samples table: measured, not claimed."""
    texts = pl.DataFrame(records, schema=dict.fromkeys(TEXTS, pl.String))
    scores = frame.columns[len(SAMPLE) :]
    return pl.DataFrame(
        [
            frame["uid"],
            pl.Series("key", keys, pl.String),
            *(frame[name].alias(f"source_{name}") for name in ("shard", "row", "key")),
            frame["url"],
            frame["text"].alias("caption"),
            texts["status"].fill_null("success"),
            texts["error_message"],
            *(frame[name] for name in SIZES),
            texts["exif"],
            texts["sha256"],
            *(frame[name] for name in scores),
        ]
    )
