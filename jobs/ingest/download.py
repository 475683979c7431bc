"""One shard of URLs: img2dataset downloads it in a process of its own; it is published when it is complete.

    fetched = fetch(settings, Chunk(7, rows))

    00000007.tar          jpg, txt and json of every picture that was downloaded, in the order of arrival
    00000007.parquet      every row: uid, caption, url, key, status, error_message, sizes, sha256
    00000007_stats.json   counts and reasons; published last, so a shard that has it is complete

img2dataset's Downloader does the work: threads, urllib, time-outs, retries, X-Robots-Tag, resizing, tars,
sidecars. The `download` of img2dataset runs the same Downloader, but it
    - takes a shard for done if it has a stats file, even one that is cut off;
    - on Ray, drops shards that failed;
    - prints rows that could not be written (full disk) and forgets them;
    - leaves workers behind if it is killed, which go on writing into the shards of the next run.
Here a shard is written to a temporary folder, counted, and moved.
"""

import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
import polars as pl
import pyarrow.parquet as pq

from jobs.ingest.guard import Guard, install
from pipeline.errors import ShardError, worded
from pipeline.pool.shards import STATS
from pipeline.recipe.limits import MAX_PIXELS
from pipeline.storage.folder import Folder
from pipeline.storage.store import to_arrow

DIGITS = 8  # of a shard's number, like DataComp's; img2dataset's default of five ends at 100,000 shards
COLUMNS = ("uid", "caption", "url")
ROBOTS = {"noai", "noimageai", "noindex", "noimageindex"}  # X-Robots-Tag values that forbid use
ENVIRONMENT = {
    "OPENCV_IO_MAX_IMAGE_PIXELS": str(MAX_PIXELS),  # OpenCV's own bound is 2^30 pixels: 3 GB
    "NO_ALBUMENTATIONS_UPDATE": "1",  # albumentations looks for its latest version online when it is imported
}


@dataclass(frozen=True)
class Settings:
    """How to download.

    out         folder of the shards
    size        longer side in pixels to which larger pictures are scaled down
    rows        URLs per shard
    threads     downloads at the same time
    timeout     seconds that a server may be silent
    retries     further attempts per URL
    guard       which addresses are refused, and how long and large a response may be
    """

    out: str
    size: int = 512
    rows: int = 10_000
    threads: int = 64
    timeout: float = 10.0
    retries: int = 1
    guard: Guard = field(default_factory=Guard)


@dataclass(frozen=True)
class Chunk:
    """The rows of one shard: uid, caption, url (all String)."""

    number: int
    rows: pl.DataFrame

    @property
    def name(self) -> str:
        """The shard's name: the stem of its three files."""
        return f"{self.number:0{DIGITS}d}"

    def origin(self, settings: Settings) -> dict[str, Any]:
        """A digest of the rows, and the settings that change the shard.

        It is stored in `_stats.json`. If it differs, the shard was made of other rows or with other settings;
        only the networks that are `allowed` may, since they change nothing but what is refused.
        """
        digest = hashlib.blake2b(digest_size=16)
        for column in COLUMNS:
            for text in self.rows[column]:
                digest.update(b"\0" if text is None else b"\1" + text.encode() + b"\0")
        return {
            "rows": digest.hexdigest(),
            "size": settings.size,
            "rows_per_shard": settings.rows,
            "allowed": settings.guard.names(),
        }


@dataclass(frozen=True)
class Fetched:
    """The outcome of a chunk: img2dataset's counts, or the reason why the shard is not done."""

    name: str
    stats: Mapping[str, Any] = field(default_factory=dict)
    error: str | None = None


def fetch(settings: Settings, chunk: Chunk) -> Fetched:
    """Download a shard and publish it. Never raises: after an error the shard is not done, and says why."""
    os.environ.update(ENVIRONMENT)  # before anything imports OpenCV
    install(settings.guard)
    out = Folder(settings.out)
    try:
        with out.temporary_folder() as folder, contextlib.redirect_stdout(sys.stderr):
            _download(settings, chunk, folder)
            stats = _checked(chunk, folder)
            for ending in (".tar", ".parquet"):
                out.publish_file(f"{folder}/{chunk.name}{ending}", chunk.name + ending)
            stats["winnow"] = chunk.origin(settings)
            out.publish(chunk.name + STATS, json.dumps(stats, indent=4).encode())
        return Fetched(chunk.name, stats)
    except Exception as error:  # storage and img2dataset raise nearly anything
        return Fetched(chunk.name, error=worded(error))


def _download(settings: Settings, chunk: Chunk, folder: str) -> None:
    """Let img2dataset fill the folder. It reads the chunk from an Arrow file, and removes it at the end."""
    import pyarrow as pa
    from img2dataset.downloader import Downloader
    from img2dataset.resizer import Resizer
    from img2dataset.writer import WebDatasetSampleWriter

    rows, table = f"{folder}/rows.feather", to_arrow(chunk.rows)
    with pa.OSFile(rows, "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    Downloader(
        sample_writer_class=WebDatasetSampleWriter,
        resizer=Resizer(settings.size, "keep_ratio_largest", resize_only_if_bigger=True, skip_reencode=True),
        thread_count=settings.threads,
        save_caption=True,
        extract_exif=False,
        output_folder=folder,
        column_list=list(COLUMNS),
        timeout=settings.timeout,
        number_sample_per_shard=settings.rows,
        oom_shard_count=DIGITS,
        compute_hash="sha256",
        verify_hash_type=None,
        encode_format="jpg",
        retries=settings.retries,
        user_agent_token=None,
        disallowed_header_directives=ROBOTS,
    ).download_shard((chunk.number, rows))


def _checked(chunk: Chunk, folder: str) -> dict[str, Any]:
    """The shard's counts. Raises ShardError unless its sidecar has each row of the chunk exactly once."""
    with open(f"{folder}/{chunk.name}{STATS}", "rb") as file:
        stats: dict[str, Any] = orjson.loads(file.read())
    table = pq.read_table(f"{folder}/{chunk.name}.parquet", columns=["uid", "status"])
    statuses = table["status"].to_pylist()
    if sorted(table["uid"].to_pylist()) != sorted(chunk.rows["uid"]):
        raise ShardError(f"{len(statuses)} of {len(chunk.rows)} rows were written: is the disk full?")
    if statuses.count("success") != stats["successes"]:
        raise ShardError(f"{stats['successes']} successes, {statuses.count('success')} in the sidecar")
    return stats
