"""One output tar: its samples, their members byte for byte, and the table beside it.

A sample is named by its uid, as DataComp's resharder does it: names in the pool, which are untrusted, never
become paths, and equal keys of two shards cannot meet. If only the json holds the caption, a `txt` member is
added, since open_clip skips a sample without one. If the recipe chooses another caption than the txt, `txt`
holds that one, and the earlier one is `source_txt`. Members over 256 MiB are left out.

webdataset's TarWriter writes the tar, with fixed headers. It sorts a sample's members by name. It writes the
pax format, which for names this short equals ustar byte for byte.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

import numpy as np
import orjson
import polars as pl

from pipeline.errors import ShardError
from pipeline.export.exporter import TaskReport
from pipeline.export.kept import WrittenRows, captioned, read_captioned
from pipeline.export.places.contents import HashedFile, content_of
from pipeline.export.scores import ScoreColumns
from pipeline.export.webdataset_writer import tar_writer
from pipeline.plan.session import Session
from pipeline.pool.fields import USUAL, parse
from pipeline.pool.kinds.kind import MEMBER_COLUMNS
from pipeline.pool.shards import Shard
from pipeline.schema import SIDES
from pipeline.storage.retry import persist
from pipeline.storage.store import Store

STATS_SUFFIX = "_stats.json"
SOURCE_TXT = "source_txt"  # the extension of a txt that is not the caption that the recipe chooses
# The columns that are read of a sample
SAMPLE = tuple(dict.fromkeys(("shard", "row", "uid", "key", "url", "text", *SIDES, *MEMBER_COLUMNS)))
# The columns of the sidecar that only the json member holds
JSON_TEXTS = ("status", "error_message", "exif", "sha256")
LONGEST = 48  # characters of an extension: with the uid and a copy's number it fits ustar's 100 bytes
EXTENSION = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{LONGEST - 1}}}")
Data = bytes | memoryview
JsonTexts = Mapping[str, str]


@dataclass(frozen=True)
class ShardRows:
    """A run of the written rows of one shard of the pool: [start, stop), counted among its written rows."""

    shard: Shard
    start: int
    stop: int


@dataclass(frozen=True)
class OutputTar:
    """One tar to write, out of runs of rows of one shard or several."""

    number: int
    runs: tuple[ShardRows, ...]

    @property
    def name(self) -> str:
        """Its file name without a suffix."""
        return f"{self.number:08d}"

    @property
    def rows(self) -> int:
        """How many samples it holds."""
        return sum(run.stop - run.start for run in self.runs)


class RowNumbers(Protocol):
    """Which rows of the pool are written."""

    def numbers(self, shard: str) -> np.ndarray:
        """Those of a shard, ascending, each as often as it is written."""


class Scores(Protocol):
    """The scores that are written beside the samples."""

    def read(self, shard: str, rows: int) -> pl.DataFrame:
        """(rows, scores) of a shard of so many rows."""


class TarBuilder:
    """Builds output tars, each in one call. Holds everything that all tars share. Travels to workers.

    written  the rows to write; by default those that the decision keeps
    scores   by default every score of the recipe"""

    def __init__(
        self,
        session: Session,
        path: str,
        written: RowNumbers | None = None,
        scores: Scores | None = None,
    ) -> None:
        self.target = Store(path)
        self.written = written or WrittenRows(session)
        self.columns = session.columns
        self.scores = scores or ScoreColumns(session)
        self.kind = session.kind
        self.caption = session.recipe.export.caption_column

    @property
    def chooses(self) -> bool:
        """Whether the recipe says which caption is written."""
        return self.caption != "text" or bool(self.kind.places)

    def build(self, tar: OutputTar) -> TaskReport:
        """Write a tar and the files beside it. Storage faults are retried with back-off; if they persist, the
        report has the error."""
        try:
            return persist(lambda: self._build(tar))
        except ShardError as error:
            return TaskReport(tar.name, error=str(error))

    def _build(self, tar: OutputTar) -> TaskReport:
        frame = pl.concat([self._rows(run) for run in tar.runs])
        keys = output_keys(frame["uid"])
        with self.target.root.publishing(f"{tar.name}.tar") as path, HashedFile(path) as file:
            records = list(self._copy_members(tar, frame, keys, file))
            size = file.tell()
        table = self.target.write(f"{tar.name}.parquet", sidecar(frame, keys, records))
        counts = orjson.dumps(stats(len(frame)))
        self.target.root.publish(f"{tar.name}{STATS_SUFFIX}", counts, durable=True)  # with all before it
        contents = {
            f"{tar.name}.tar": file.content(),
            f"{tar.name}.parquet": content_of(table),
            f"{tar.name}{STATS_SUFFIX}": content_of(counts),
        }
        return TaskReport(tar.name, len(frame), size, contents=contents)

    def _rows(self, run: ShardRows) -> pl.DataFrame:
        """The run's sample columns and scores."""
        shard = run.shard.name
        frame = captioned(
            self.columns.read(shard, read_captioned(SAMPLE, self.caption)), SAMPLE, self.caption
        )
        frame = frame.hstack(self.scores.read(shard, len(frame)))
        return frame[self.written.numbers(shard)[run.start : run.stop]]

    def _copy_members(
        self, tar: OutputTar, frame: pl.DataFrame, keys: Sequence[str], file: HashedFile
    ) -> Iterator[JsonTexts]:
        """Write the tar, sample by sample; yields the texts of each sample's json."""
        rows = zip(keys, frame.iter_rows(named=True), strict=True)
        with tar_writer()(
            file, user="", group="", mode=0o644, mtime=0, encoder=False, keep_meta=True
        ) as writer:
            for run in tar.runs:
                with self.kind.members(run.shard) as members_of:
                    for key, row in islice(rows, run.stop - run.start):
                        fields = members_of(row)
                        chosen = with_caption(fields, row["text"]) if self.chooses else fields
                        writer.write({"__key__": key, **members(chosen, row["text"])})
                        yield json_texts(fields, self.kind.limits.json_bytes)


# --- one sample -----------------------------------------------------------------------------------


def output_keys(uids: pl.Series) -> list[str]:
    """A key for each sample of a tar: its uid. Samples with equal uids get -0, -1, ... appended, as in
    DataComp's resharder, so that no two samples of a tar share a key."""
    repeated = set(uids.filter(uids.is_duplicated()))
    copies = Counter[str]()
    keys = list[str]()
    for uid in uids:
        keys.append(f"{uid}-{copies[uid]}" if uid in repeated else uid)
        copies[uid] += 1
    return keys


def with_caption(fields: Sequence[tuple[str, Data]], text: str | None) -> list[tuple[str, Data]]:
    """The files of a sample whose caption the recipe chooses. A txt with another text is called SOURCE_TXT:
    loaders take `txt` for the caption."""
    other = [s for s, data in fields if s.lower() == "txt" and str(data, "utf-8", "replace") != text]
    return [(SOURCE_TXT if suffix in other else suffix, data) for suffix, data in fields]


def members(fields: Sequence[tuple[str, Data]], text: str | None) -> dict[str, Data]:
    """Extension -> contents of an output sample, with the caption as `txt` if the sample has no such member.
    An extension that is unsafe in a file name is changed; if the change makes it equal to another, it gets a
    number."""
    contents: dict[str, Data] = {}
    taken: set[str] = set()  # in lower case: readers ignore case
    clashes = Counter[str]()
    for suffix, data in sorted(fields, key=lambda field: not EXTENSION.fullmatch(field[0])):
        stem = name = safe_extension(suffix)
        while name.lower() in taken:
            clashes[stem] += 1
            name = f"{stem}-{clashes[stem]}"
        taken.add(name.lower())
        contents[name] = data
    if text is not None and "txt" not in taken:
        contents["txt"] = text.encode()
    return contents


def safe_extension(suffix: str) -> str:
    """The extension itself if it is safe in a file name, else `x-` and the extension with `_` for unsafe
    characters."""
    if EXTENSION.fullmatch(suffix):
        return suffix
    return f"x-{re.sub('[^A-Za-z0-9._-]', '_', suffix)[:LONGEST]}"


def json_texts(fields: Sequence[tuple[str, Data]], most: int = USUAL.json_bytes) -> JsonTexts:
    """The JSON_TEXTS that a sample's json member holds, if it has at most `most` bytes. Values that are not
    strings are left out."""
    data = next((data for suffix, data in fields if suffix.lower() == "json"), b"{}")
    record, _ = parse(data, most)
    texts = {name: record[name] for name in JSON_TEXTS if isinstance(record.get(name), str)}
    return {name: text.encode("utf-8", "replace").decode() for name, text in texts.items()}


def stats(rows: int) -> dict[str, Any]:
    """img2dataset's counts for a shard. Its times are left out, so that equal exports have equal bytes."""
    failed = {"failed_to_download": 0, "failed_to_resize": 0}
    return {"count": rows, "successes": rows, **failed, "status_dict": {"success": rows}}


def sidecar(frame: pl.DataFrame, keys: Sequence[str], records: Sequence[JsonTexts]) -> pl.DataFrame:
    """The table beside a tar: one row per sample. Sizes are the measured ones of the samples table, not those
    that the json claims."""
    texts = pl.DataFrame(records, schema=dict.fromkeys(JSON_TEXTS, pl.String))
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
            *(frame[name] for name in SIDES),
            texts["exif"],
            texts["sha256"],
            *(frame[name] for name in scores),
        ]
    )
