"""What is fuzzed: functions from bytes to nothing, which raise if something is wrong, and bytes to begin
with."""

import io
import json
import tarfile
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import polars as pl

from jobs.ingest.guard import Guard, ascii_url
from operators.algorithms.files.vector_files import read_vectors
from pipeline.errors import ChangedError, WinnowError, printable
from pipeline.export.subset import read_subset
from pipeline.pool.archive.read_through import TarFiles
from pipeline.pool.datacomp.npz import open_npz
from pipeline.pool.fields import image_size
from pipeline.pool.fields import parse as parse_json
from pipeline.pool.img2dataset import reason
from pipeline.pool.listing.patterns import places
from pipeline.pool.shards import Shard
from pipeline.pool.table_reader import read_table
from pipeline.pool.tar import walk
from pipeline.pool.tar_reader import read_samples
from pipeline.recipe.load import load
from pipeline.run.decode import decode
from tests.corpus.pool import members, pack, sound
from tests.pipeline.pool.made_tars import block, header
from tests.support.samples import picture

FOLDER = Path(tempfile.mkdtemp(prefix="winnow_fuzz"))
MOST_PLACES = 1000  # of a pattern that are looked at
SAMPLES = {f"{n:03}": sound(n) for n in range(3)}


@dataclass(frozen=True)
class Target:
    """`run` takes the bytes; `expected` are the errors that it documents; `seeds` are sound inputs;
    `libraries` are imported first, because that may take longer than one input may."""

    run: Callable[[bytes], object]
    seeds: list[bytes]
    expected: tuple[type[Exception], ...] = ()
    libraries: tuple[str, ...] = ()


def file(name: str, data: bytes) -> str:
    """A file of these bytes; returns its path."""
    path = FOLDER / name
    path.write_bytes(data)
    return str(path)


# --- tars -----------------------------------------------------------------------------------------


def tar(data: bytes) -> None:
    """The samples of a tar, sorted or not, and the files of the bytes as one sample's range."""
    path = file("shard.tar", data)
    for frame, images in read_samples(Shard("0", path), batch_rows=10):
        assert frame["uid"].null_count() == 0
        assert len(frame) == len(images)
    with suppress(ChangedError), TarFiles(path, "") as files:
        files.of("000", 0, len(data))


def pax(data: bytes) -> None:
    """A member after a pax header with these records."""
    extension = header(b"x", b"%011o\0" % len(data), b"x") + block(data)
    list(walk(extension + header() + block(b"abc") + bytes(1024)))


def _tars() -> list[bytes]:
    formats = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
    long = [("folder/" * 30 + "0.jpg", b"abc"), ("é.txt", b"a")]
    return [pack([*members(SAMPLES), *long], format) for format in formats]


# --- what is in a sample --------------------------------------------------------------------------


def image(data: bytes) -> None:
    """The size in the header, and the pixels, of an image."""
    image_size(data)
    pixels, why = decode(data)
    assert (pixels is None) != (why is None)


def _images() -> list[bytes]:
    formats = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
    return [picture(1, 20, 10, format) for format in formats] + [picture(1, 20, 10, "PNG", "P")]


# --- tables and arrays ----------------------------------------------------------------------------


def table(suffix: str) -> Callable[[bytes], object]:
    """The rows of a table with this suffix."""

    def read(data: bytes) -> None:
        shard = Shard("0", file(f"table{suffix}", data), suffix.lstrip("."))
        for frame in read_table(shard, {}, 100):
            assert frame["uid"].null_count() == 0

    return read


def _parquet() -> list[bytes]:
    frame = pl.DataFrame(
        {"text": ["a", "é" * 9, None], "url": ["http://a/1", None, ""], "uid": ["0" * 32] * 3}
    )
    found = []
    for compression in ("uncompressed", "snappy", "zstd"):
        out = io.BytesIO()
        frame.write_parquet(out, compression=compression)  # type: ignore[arg-type]
        found.append(out.getvalue())
    return found


def npz(data: bytes) -> None:
    """The rows of each array of an npz."""
    with open_npz(file("arrays.npz", data)) as arrays:
        arrays.checksums()
        for name in arrays.names:
            arrays.array(name).take(10)


def _arrays(save: Callable[..., None]) -> list[bytes]:
    found = []
    for dtype in (np.float16, np.float32, np.float64):
        out = io.BytesIO()
        save(out, np.ones((3, 4), dtype))
        found.append(out.getvalue())
    return found


def vectors(suffix: str) -> Callable[[bytes], object]:
    """The vectors of a file with this suffix."""
    return lambda data: read_vectors(file(f"vectors{suffix}", data))


def centroids(data: bytes) -> None:
    """DataComp's centroids: a numpy array in a pickle."""
    read_vectors(file("centroids.pt", data))


def _pickles() -> list[bytes]:
    import pickle

    whole = np.arange(12, dtype=np.float32).reshape(3, 4)
    return [pickle.dumps(whole, protocol) for protocol in (2, 3, 4, 5)]


# --- what people write ----------------------------------------------------------------------------


def recipe(data: bytes) -> None:
    """A recipe file."""
    load(file("recipe.yaml", data))


def override(data: bytes) -> None:
    """The value of --set."""
    load(file("recipe.yaml", RECIPE), [data.decode("utf-8", "replace")])


def pattern(data: bytes) -> None:
    """The paths that a pattern stands for."""
    for number, _ in enumerate(places(data.decode("utf-8", "replace"))):
        if number == MOST_PLACES:
            break


def url(data: bytes) -> None:
    """A URL of a list: how it is sent, and why it failed. No connection is made."""
    text = data.decode("utf-8", "replace")
    reason(text)
    sent = ascii_url(text)
    assert sent.isascii()
    host = urlsplit(sent).hostname
    if host and ":" in host:
        Guard().allows(host)


def shown(data: bytes) -> None:
    """A text of a stranger's on the terminal."""
    assert printable(data.decode("utf-8", "surrogateescape")).isprintable()


RECIPE = b"""pool: {shards: 'pool/*.tar', store: store}
compute:
  facts: {use: datacomp.Facts}
  words: {use: wfpp.WordFrequency}
keep:
  facts.words: {min: 2}
  any: {any: [{column: facts.side, min: 3}, {column: facts.words, top: 0.5}]}
export: {shards: out, samples_per_shard: 10}
"""
RECORDS = [json.dumps({"url": "http://a/1", "width": 3, "uid": "0" * 32, "caption": "a"}).encode(), b"{}"]
LINES = b'text\turl\tuid\na b\thttp://a/1\t1\n"x\n'

TARGETS: dict[str, Target] = {
    "tar": Target(tar, _tars()),
    "pax": Target(pax, [b"12 path=a.b\n", b"11 size=12\n", b"20 path=folder/a.jpg\n"]),
    "json": Target(parse_json, RECORDS),
    "image": Target(image, _images()),
    "tsv": Target(table(".tsv"), [LINES], (WinnowError,)),
    "csv": Target(table(".csv"), [LINES.replace(b"\t", b",")], (WinnowError,)),
    "jsonl": Target(table(".jsonl"), [b"\n".join(RECORDS)], (WinnowError,)),
    "parquet": Target(table(".parquet"), _parquet(), (WinnowError,)),
    "npz": Target(npz, _arrays(np.savez) + _arrays(np.savez_compressed), (WinnowError,)),
    "npy": Target(vectors(".npy"), _arrays(np.save), (ValueError, OSError)),
    "centroids": Target(centroids, _pickles(), (ValueError, OSError), ("torch",)),
    "subset": Target(lambda data: read_subset(file("subset.npy", data)), _arrays(np.save), (WinnowError,)),
    "recipe": Target(recipe, [RECIPE], (WinnowError,)),
    "override": Target(override, [b"keep.facts.words.min=3", b"name=x"], (WinnowError,)),
    "pattern": Target(pattern, [b"a/{0..9}/*.tar", b"{a,b}[0-9]?.tar"], (ValueError, WinnowError)),
    "url": Target(
        url, [b"http://[::1]:80/\xc3\xa9?a=b#c", b"https://b\xc3\xbccher.example/%41"], (ValueError,)
    ),
    "terminal": Target(shown, [b"\x1b[31m[red]\xe2\x80\xae\xff"]),
}
