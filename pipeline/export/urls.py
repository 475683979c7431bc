"""`export.urls`: the kept samples as a list of URLs, for balancing a pool before it is downloaded.

    result = write_urls(session)

    00000000.parquet  columns url, text, uid; in pool order, at most ROWS_PER_FILE rows
    _winnow.json      the manifest: which decision this is, each file's digest, and `complete`

    img2dataset --url_list FOLDER --input_format parquet --url_col url --caption_col text \\
        --save_additional_columns '["uid"]' --output_format webdataset --output_folder SHARDS

img2dataset puts the uid into each sample's json, so it stays the sample's uid: scores and subset files of the
list hold for the shards. Samples without a url are left out and counted. The same decision gives the same
bytes. Memory holds one row group and one shard's columns, however long the list is.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, count, islice
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.export.exporter import Watch
from pipeline.export.kept import captioned, kept_counts, read_captioned
from pipeline.export.places.contents import HashedFile
from pipeline.export.places.folder import MANIFEST, ExportFolder, export_folder
from pipeline.export.places.inputs import Inputs, operators_of
from pipeline.export.places.stage import Stage, numbers
from pipeline.plan.session import Session
from pipeline.pool.table_reader import cut
from pipeline.pool.tar_reader import BATCH_BYTES
from pipeline.progress import watched
from pipeline.run.executor import Executor
from pipeline.storage.store import to_arrow

KEY = "export.urls"
ROWS_PER_FILE = 1_000_000  # img2dataset reads a whole file at a time
GROUP = 50_000  # rows of a row group
COLUMNS = ("url", "text", "uid")
SCHEMA = pa.schema(dict.fromkeys(COLUMNS, pa.large_string()))  # as `to_arrow` writes texts
COUNTS = ("files", "rows", "without_url")  # of a manifest and of a result


@dataclass(frozen=True)
class UrlsResult:
    """The files of the list and their rows; `without_url` counts the kept samples that are not listed."""

    path: str
    files: int
    rows: int
    without_url: int


class UrlsExporter:
    """See exporter.Exporter."""

    name = "urls"

    def check(self, session: Session) -> None:
        """See exporter.Exporter."""
        _place(session).check()

    def write(self, session: Session, executor: Executor, watch: Watch) -> UrlsResult:
        """See exporter.Exporter."""
        return write_urls(session)


def write_urls(session: Session) -> UrlsResult:
    """Write `export.urls`. Raises RecipeError if there is no decision yet, and for a folder that holds
    something else."""
    place = _place(session)
    shards = [shard for shard, kept in kept_counts(session).items() if kept]
    inputs = Inputs(session, operators_of(session, [session.recipe.export.caption]))
    wanted = {"export": "urls", **inputs.manifest, **session.recipe.export.chosen_caption()}
    with place.writing(wanted, f"{KEY} of {session.recipe.name}", {"files": 0}) as stage:
        if not stage.complete:
            counts = _write_all(session, shards, stage)
            stage.finish(partial(inputs.verify, KEY), counts)
        return UrlsResult(place.path, **{name: stage.manifest[name] for name in COUNTS})


def _write_all(session: Session, shards: Sequence[str], stage: Stage) -> dict[str, int]:
    """Write every file of the list; returns COUNTS. The manifest names a file before it is there."""
    counts = Counter[str]()
    groups = cut(_with_url(session, shards, counts), GROUP, BATCH_BYTES)
    files = 0
    for files in count():
        if (first := next(groups, None)) is None:
            break
        stage.announce({"files": max(files + 1, stage.manifest["files"])})
        _write(stage, _file(files), chain([first], islice(groups, ROWS_PER_FILE // GROUP - 1)))
    return {"files": files, "rows": counts["rows"], "without_url": counts["without_url"]}


def _place(session: Session) -> ExportFolder:
    """The folder of the export. Raises RecipeError if the recipe has none."""
    return export_folder(session.recipe.export.urls, KEY, MANIFEST, _names)


def _names(manifest: Mapping[str, Any]) -> Iterator[str]:
    """The files that a manifest names. That of an earlier version does not say how many there are until the
    list is complete."""
    if manifest["export"] != "urls":
        raise ValueError
    yield from map(_file, numbers(manifest.get("files", 0)))


def _file(number: int) -> str:
    """The name of one file of the list."""
    return f"{number:08d}.parquet"


def _with_url(session: Session, shards: Sequence[str], counts: Counter[str]) -> Iterator[pl.DataFrame]:
    """The kept samples that have a url, shard by shard; counts them and the others."""
    caption = session.recipe.export.caption_column
    names = read_captioned(COLUMNS, caption)
    for shard in watched("writing the list of URLs", shards, len(shards)):
        found = captioned(session.columns.read(shard, names), COLUMNS, caption)
        kept = found.filter(session.store.kept(session.decisions, shard))
        listed = kept.filter(pl.col("url") != "")
        counts.update(rows=len(listed), without_url=len(kept) - len(listed))
        yield listed


def _write(stage: Stage, name: str, groups: Iterable[pl.DataFrame]) -> None:
    """One file, a row group per frame, published in one step."""
    with stage.folder.publishing(name) as aside, HashedFile(aside) as file:
        with pq.ParquetWriter(file, SCHEMA, compression="zstd") as writer:
            for group in groups:
                writer.write_table(to_arrow(group))
        file.close()
    stage.note({name: file.content()})
