"""`export.urls`: the kept samples as a list of URLs, for balancing a pool before it is downloaded.

    result = write_urls(session)

    00000000.parquet  columns url, text, uid; in pool order, at most ROWS_PER_FILE rows
    _winnow.json      which decision this is; `complete` is true once all files are there

    img2dataset --url_list FOLDER --input_format parquet --url_col url --caption_col text \\
        --save_additional_columns '["uid"]' --output_format webdataset --output_folder SHARDS

img2dataset puts the uid into each sample's json, so it stays the sample's uid: scores and subset files of the
list hold for the shards. Samples without a url are left out and counted. The same decision gives the same
bytes. Memory holds one row group and one shard's columns, however long the list is.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import chain, count, islice
from typing import Any

import orjson
import polars as pl
import pyarrow.parquet as pq

from pipeline.errors import RecipeError
from pipeline.export.exporter import Watch
from pipeline.export.kept import kept_counts
from pipeline.export.tars import MANIFEST
from pipeline.plan.session import Session
from pipeline.pool.table_reader import cut
from pipeline.pool.tar_reader import BATCH_BYTES
from pipeline.run.executor import Executor
from pipeline.storage.folder import Folder
from pipeline.storage.store import to_arrow

ROWS_PER_FILE = 1_000_000  # img2dataset reads a whole file at a time
GROUP = 50_000  # rows of a row group
COLUMNS = ("url", "text", "uid")
SCHEMA = to_arrow(pl.DataFrame(schema=dict.fromkeys(COLUMNS, pl.String))).schema
LIST_FILE = re.compile(r"\d{8}\.parquet")


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

    def write(self, session: Session, executor: Executor, watch: Watch) -> UrlsResult:
        """See exporter.Exporter."""
        return write_urls(session)


def write_urls(session: Session) -> UrlsResult:
    """Write `export.urls`. Raises RecipeError if there is no decision yet, and for a folder that holds
    something else."""
    path = session.recipe.export.urls
    if path is None:
        raise RecipeError("export.urls is missing: name the folder to write")
    shards = [shard for shard, kept in kept_counts(session).items() if kept]
    out = Folder(path)
    manifest = {"export": "urls", "decision": session.decisions, "complete": False}
    _prepare(out, manifest)
    counts = Counter[str]()
    groups = cut(_with_url(session, shards, counts), GROUP, BATCH_BYTES)
    files = 0
    for files in count():
        if (first := next(groups, None)) is None:
            break
        _write(out, f"{files:08d}.parquet", chain([first], islice(groups, ROWS_PER_FILE // GROUP - 1)))
    result = UrlsResult(path, files, counts["rows"], counts["without_url"])
    counted = {name: number for name, number in asdict(result).items() if name != "path"}
    out.publish(MANIFEST, _json({**manifest, "complete": True, **counted}))
    return result


def _with_url(session: Session, shards: Iterable[str], counts: Counter[str]) -> Iterator[pl.DataFrame]:
    """The kept samples that have a url, shard by shard; counts them and the others."""
    columns = session.columns
    for shard in shards:
        kept = columns.read(shard, COLUMNS).filter(session.store.kept(session.decisions, shard))
        listed = kept.filter(pl.col("url") != "")
        counts.update(rows=len(listed), without_url=len(kept) - len(listed))
        yield listed


def _write(out: Folder, name: str, groups: Iterable[pl.DataFrame]) -> None:
    """One file, a row group per frame, published in one step."""
    with out.publishing(name) as aside, pq.ParquetWriter(aside, SCHEMA, compression="zstd") as writer:
        for group in groups:
            writer.write_table(to_arrow(group))


def _prepare(out: Folder, manifest: dict[str, Any]) -> None:
    """Empty the folder of an earlier list. Raises RecipeError for a folder of anything else."""
    out.remove_leftovers()
    files = out.file_names()
    if files and not (MANIFEST in files and _is_list(out)):
        raise RecipeError(
            f"export.urls: {out.base} is not empty and not a list that Winnow wrote (it has {min(files)}); "
            "name another folder, or empty this one"
        )
    out.publish(MANIFEST, _json(manifest))
    for name in filter(LIST_FILE.fullmatch, sorted(files)):
        out.fs.rm_file(out.path(name))


def _is_list(out: Folder) -> bool:
    """Whether the folder's manifest is that of a URL list."""
    try:
        return bool(orjson.loads(out.read(MANIFEST))["export"] == "urls")
    except (ValueError, KeyError, TypeError):
        return False


def _json(data: dict[str, Any]) -> bytes:
    return orjson.dumps(data, option=orjson.OPT_INDENT_2)
