"""The kept samples as a list of URLs, for img2dataset to download: balance first, download after.

    result = write_urls(session)

    00000000.parquet  columns url, text, uid; in pool order, at most ROWS_PER_FILE rows
    _winnow.json      which decision this is; `complete` is true once all files are there

    img2dataset --url_list FOLDER --input_format parquet --url_col url --caption_col text \\
        --save_additional_columns '["uid"]' --output_format webdataset --output_folder SHARDS

The uid goes into each sample's json and so stays the sample's uid: scores and subset files of the list
hold for the shards. Samples without a url are left out and counted. The same decision gives the same
bytes; memory stays flat in the length of the list.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain, count, islice
from typing import Any

import orjson
import polars as pl
import pyarrow.parquet as pq

from pipeline.errors import RecipeError
from pipeline.export.kept import kept_counts
from pipeline.export.tars import MANIFEST
from pipeline.plan.session import Session
from pipeline.pool.table_reader import cut
from pipeline.pool.tar_reader import BATCH_BYTES
from pipeline.storage.folder import Folder
from pipeline.storage.store import to_arrow

ROWS_PER_FILE = 1_000_000  # img2dataset reads a whole file at a time
GROUP = 50_000  # rows of a row group, which is what is held here
COLUMNS = ("url", "text", "uid")
SCHEMA = to_arrow(pl.DataFrame(schema=dict.fromkeys(COLUMNS, pl.String))).schema
LIST = re.compile(r"\d{8}\.parquet")


def write_urls(session: Session) -> dict[str, Any]:
    """Write `export.urls`; returns path, files, rows, and how many kept samples have no url. Raises
    RecipeError before any decision, and for a folder that holds something else."""
    path = session.recipe.export.urls
    if path is None:
        raise RecipeError("export.urls is missing: name the folder to write")
    kept = [shard for shard, rows in kept_counts(session).items() if rows]
    out, counts = Folder(path), Counter[str](files=0, rows=0, without_url=0)
    manifest = {"export": "urls", "decision": session.decisions, "complete": False}
    _prepare(out, manifest)
    groups = cut(_with_url(session, kept, counts), GROUP, BATCH_BYTES)
    for number in count():
        if (first := next(groups, None)) is None:
            break
        _write(out, f"{number:08d}.parquet", chain([first], islice(groups, ROWS_PER_FILE // GROUP - 1)))
        counts["files"] += 1
    out.publish(MANIFEST, _json({**manifest, "complete": True, **counts}))
    return {"path": path, **counts}


def _with_url(session: Session, shards: Iterable[str], counts: Counter[str]) -> Iterator[pl.DataFrame]:
    """The kept samples that have a url, shard by shard; counts them and the others."""
    columns = session.columns
    for shard in shards:
        keep = session.store.kept(session.decisions, shard)
        frame = columns.read(shard, COLUMNS).filter(keep)
        found = frame.filter(pl.col("url") != "")
        counts.update(rows=len(found), without_url=len(frame) - len(found))
        yield found


def _write(out: Folder, name: str, groups: Iterable[pl.DataFrame]) -> None:
    """One file, a row group per frame, published in one step."""
    with out.publishing(name) as aside, pq.ParquetWriter(aside, SCHEMA, compression="zstd") as writer:
        for group in groups:
            writer.write_table(to_arrow(group))


def _prepare(out: Folder, manifest: dict[str, Any]) -> None:
    """Empty the folder of an earlier list. Raises RecipeError for a folder of anything else."""
    out.remove_leftovers()
    found = out.file_names()
    if found and not (MANIFEST in found and _is_list(out)):
        raise RecipeError(
            f"export.urls: {out.base} is not empty and no list of Winnow's (it has {min(found)}); "
            "name another folder, or empty this one"
        )
    out.publish(MANIFEST, _json(manifest))
    for name in filter(LIST.fullmatch, sorted(found)):
        out.fs.rm_file(out.path(name))


def _is_list(out: Folder) -> bool:
    try:
        return bool(orjson.loads(out.read(MANIFEST))["export"] == "urls")
    except (ValueError, KeyError, TypeError):
        return False


def _json(data: dict[str, Any]) -> bytes:
    return orjson.dumps(data, option=orjson.OPT_INDENT_2)
