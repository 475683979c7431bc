"""Arrays: DataComp's folders (types of columns, npz), subset files."""

import io
import json
import pickle
import uuid
import zipfile
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa

from tests.corpus.kind import Build, Kind, Outcome, reads, refused, unread
from tests.corpus.pool import OddPool
from tests.corpus.tables import SCORE, WIDTH, as_datacomp, datacomp_columns, embeddings, npy, npz, parquet

ODD = range(99, 100)
UUID = uuid.UUID(int=77)
MAGIC = b"\x93NUMPY\x01\0"


def column(**columns: Any) -> Build:
    """A DataComp folder with a parquet of one row, with other columns than it should have."""

    def build(pool: OddPool) -> None:
        as_datacomp(pool)
        pool.keep = {"facts.words": {"min": 1}, "datacomp.l14_score": {"min": -9, "missing": "keep"}}
        pool.write("odd.parquet", parquet({**datacomp_columns(ODD), **columns}))

    return build


def archive(make: bytes | Callable[[], bytes]) -> Build:
    """A DataComp folder with this npz beside a parquet of one row."""

    def build(pool: OddPool) -> None:
        as_datacomp(pool, arrays=True)
        pool.compute["near"] = {
            "use": "datacomp.NearestCentroid",
            "embedding": "datacomp.l14_image_embedding",
            "centroids": str(pool.beside("centroids.npy", npy(embeddings(3)))),
            "targets": str(pool.beside("targets.npy", npy(embeddings(2)))),
        }
        pool.write("odd.parquet", parquet(datacomp_columns(ODD)))
        pool.write("odd.npz", make if isinstance(make, bytes) else make())

    return build


def header(text: str, version: bytes = b"\x01\0") -> bytes:
    """The beginning of an .npy with this header."""
    data = text.encode()
    return MAGIC[:6] + version + len(data).to_bytes(2, "little") + data


def shaped(shape: str, descr: str = "'<f2'", order: str = "False") -> bytes:
    """A header of this shape."""
    return header(f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n")


def zipped(member: bytes, packing: int = zipfile.ZIP_STORED) -> bytes:
    """An .npz whose l14_img is this."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", packing) as made:
        made.writestr("l14_img.npy", member)
    return out.getvalue()


def encrypted(data: bytes) -> bytes:
    """The same zip, whose members say that they are encrypted."""
    made = bytearray(data)
    for magic, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        made[data.index(magic) + at] |= 1
    return bytes(made)


def subset(data: bytes) -> Build:
    """A recipe that asks how often a sample is in this subset file."""

    def build(pool: OddPool) -> None:
        pool.compute["asked"] = {"use": "subset.Copies", "file": str(pool.beside("subset.npy", data))}

    return build


ONE = embeddings(1)
UIDS = np.zeros(3, "u8,u8")
UNSORTED = np.array([(2, 0), (1, 0)], "u8,u8")
KINDS = [
    Kind("uids as categories", column(uid=pa.array([UUID.hex]).dictionary_encode()), reads()),
    Kind("uids as bytes", column(uid=pa.array([UUID.hex.encode()])), reads()),
    Kind("uids of 16 bytes", column(uid=pa.array([UUID.bytes], pa.binary(16))), reads()),
    Kind("uids of Arrow's type", column(uid=pa.array([UUID.bytes], pa.uuid())), reads()),
    Kind("uids with dashes", column(uid=[str(UUID)]), reads()),
    Kind("a uid that is a number", column(uid=[5]), unread("uid '5' must be 32 hex digits")),
    Kind("a uid that is missing", column(uid=pa.nulls(1)), unread("uid None must be 32 hex digits")),
    Kind("captions in lists", column(text=[["a b", "c"]]), reads()),
    Kind("a caption that is a record", column(text=[{"a": "b"}]), unread("column text is struct")),
    Kind("scores as text", column(**{SCORE: ["0.25"]}), reads()),
    Kind("a score that is no number", column(**{SCORE: ["high"]}), unread("'high', must be a number")),
    Kind("no score at all", column(**{SCORE: pa.nulls(1)}), reads()),
    Kind("scores in half precision", column(**{SCORE: pa.array([0.25], pa.float16())}), reads()),
    Kind("scores in single precision", column(**{SCORE: pa.array([0.25], pa.float32())}), reads()),
    Kind("decimal scores", column(**{SCORE: [Decimal("0.25")]}), reads()),
    Kind("scores that are whole numbers", column(**{SCORE: [1]}), reads()),
    Kind("scores that are true or false", column(**{SCORE: [True]}), unread("is bool, must be numbers")),
    Kind("scores in lists", column(**{SCORE: [[0.5]]}), unread("must be numbers")),
    Kind("sides that are dates", column(original_width=pa.array([7], pa.date32())), reads()),
    Kind("sides as text", column(original_width=["24"]), reads()),
    Kind("an npz as it should be", archive(npz(l14_img=ONE)), reads()),
    Kind("no such array", archive(npz(other=ONE)), unread("has no array l14_img; there are: other")),
    Kind("too many rows", archive(npz(l14_img=embeddings(3))), unread("l14_img has 3 rows, the parquet 1")),
    Kind("whole numbers", archive(npz(l14_img=ONE.astype(int))), unread("must be rows of floats, got int64")),
    Kind("by column", archive(npz(l14_img=np.asfortranarray(embeddings(4)[:2].T[:2]))), unread("by column")),
    Kind(
        "Python objects", archive(npz(l14_img=np.array([[{}]], object))), unread("Python objects (a pickle)")
    ),
    Kind(
        "a header of nested brackets",
        archive(zipped(header("(" * 9000))),
        unread("header that cannot be read"),
    ),
    Kind(
        "a header of minus signs",
        archive(zipped(shaped("(" + "-" * 9000 + "1, 8)"))),
        unread("cannot be read"),
    ),
    Kind("a header of 60 KB", archive(zipped(header(" " * 60_000))), unread("header of 60,000 bytes")),
    Kind("no .npy inside", archive(zipped(b"hello")), unread("is not an .npy file")),
    Kind(
        "a shape of 10^18",
        archive(zipped(shaped("(1, 1000000000000000000)"))),
        unread("it was cut, or its header is wrong"),
    ),
    Kind(
        "30,000 numbers in a row",
        archive(npz(l14_img=np.zeros((1, 30_000), "f2"))),
        unread("1 to 8,192 numbers in a row"),
    ),
    Kind(
        "400 MB of zeros in 400 KB",
        archive(lambda: zipped(shaped("(1, 8)") + bytes(400 << 20), zipfile.ZIP_DEFLATED)),
        unread("unpack to 419,430", "must be at most"),
    ),
    Kind("an encrypted member", archive(encrypted(zipped(npy(ONE)))), unread("is encrypted")),
    Kind("packed by lzma", archive(zipped(npy(ONE), zipfile.ZIP_LZMA)), unread("packed by method 14")),
    Kind("an npz without its first bytes", archive(npz(l14_img=ONE)[11:]), unread("begins before the file")),
    Kind("an npz that is cut", archive(npz(l14_img=ONE)[:-30]), unread("is not a whole .npz")),
    Kind(
        "embeddings of another width",
        archive(npz(l14_img=np.zeros((1, WIDTH + 1), "f2"))),
        Outcome(0, (), None),
    ),
    Kind("a subset", subset(npy(UIDS)), reads(0)),
    Kind("a subset of no rows", subset(npy(UIDS[:0])), reads(0)),
    Kind(
        "a subset of other numbers",
        subset(npy(np.zeros(3))),
        refused("compute.asked.file", "must be a list of u8,u8, got float64"),
    ),
    Kind("a subset in two dimensions", subset(npy(UIDS[None])), refused("must be a list of u8,u8")),
    Kind("a subset that is cut", subset(npy(UIDS)[:-8]), refused("and holds 40: it was cut")),
    Kind(
        "a subset that claims 10^15 rows",
        subset(shaped("(1000000000000000,)", "[('f0', '<u8'), ('f1', '<u8')]")),
        refused("it was cut"),
    ),
    Kind("a subset that is a pickle", subset(pickle.dumps([1])), refused("is not an .npy file")),
    Kind("a subset of objects", subset(shaped("(3,)", "'|O'")), refused("Python objects (a pickle)")),
    Kind("a subset that is empty", subset(b""), refused("is not an .npy file")),
    Kind("a subset that is not sorted", subset(npy(UNSORTED)), Outcome(3, ("must be sorted",), None)),
    Kind("a subset that is json", subset(json.dumps(["a"]).encode()), refused("is not an .npy file")),
]
