"""Parquet files with images inside."""

from typing import Any

import pyarrow as pa

from tests.corpus.kind import Build, Kind, fails, reads, refused, unread
from tests.corpus.pool import OddPool, sound
from tests.corpus.tables import as_images, as_tables, parquet, with_file

JPEG = sound(99)["jpg"]
RECORD = pa.struct({"bytes": pa.binary(), "path": pa.string()})
ODD: dict[str, Any] = {
    "key": ["odd"],
    "text": ["an odd picture of words"],
    "image": [{"bytes": JPEG, "path": "a"}],
}


def row(**columns: Any) -> Build:
    """A file of one sample, with other columns than ODD's."""
    return with_file(as_images, lambda: parquet({**ODD, **columns}))


def image(value: Any, kind: pa.DataType = RECORD) -> Build:
    """A file of one sample with this picture."""
    return row(image=pa.array([value], kind))


def _as_tables(pool: OddPool) -> None:
    as_tables(pool)
    pool.compute["light"] = {"use": "planted.Brightness"}


SEVERAL = {"image": None, "before": ODD["image"], "after": ODD["image"]}
KINDS = [
    Kind("records of bytes and path", row(), reads()),
    Kind("plain bytes", image(JPEG, pa.binary()), reads()),
    Kind("large bytes", image(JPEG, pa.large_binary()), reads()),
    Kind("bytes in a dictionary", row(image=pa.array([JPEG]).dictionary_encode()), reads()),
    Kind(
        "only a path",
        image({"bytes": None, "path": "../../etc/hosts"}),
        fails("no image"),
    ),
    Kind("a path of escape sequences", image({"bytes": None, "path": "\x1b[2J"}), fails("no image")),
    Kind("a row without a picture", image(None), fails("no image")),
    Kind("an empty picture", image({"bytes": b"", "path": "a.jpg"}), fails()),
    Kind("bytes that are no picture", image({"bytes": b"hello", "path": None}), fails()),
    Kind("a picture that is cut", image({"bytes": JPEG[:200], "path": None}), fails()),
    Kind("no caption", row(text=pa.nulls(1, pa.string())), fails("no caption")),
    Kind("captions in a list", row(text=[["one of several", "two"]]), reads()),
    Kind("a mask beside it", row(mask=ODD["image"]), reads()),
    Kind(
        "several without a usual name",
        with_file(as_images, lambda: parquet({**ODD, **SEVERAL})),
        refused("pool.columns.image must name one of before, after"),
    ),
    Kind(
        "several columns of one name",
        with_file(
            as_images,
            lambda: parquet(
                pa.Table.from_arrays(
                    [pa.array([JPEG])] * 2 + [pa.array(["a"])], names=["image", "image", "text"]
                )
            ),
        ),
        unread("odd.parquet", "2 columns called image"),
    ),
    Kind("no column of images", row(image=["a.jpg"]), refused("no column has images", "image (string)")),
    Kind(
        "other columns of all types",
        row(
            a=pa.array([1.5], pa.float16()),
            b=[{"c": [None, float("nan")]}],
            d=[b"\xff"],
            e=pa.array([1], pa.timestamp("us")),
            f=pa.nulls(1),
        ),
        reads(),
    ),
    Kind("a time out of range beside it", row(a=pa.array([1 << 62], pa.timestamp("us"))), reads()),
    Kind(
        "one picture 100,000 times",
        with_file(
            as_images,
            lambda: parquet(
                {
                    "image": pa.array([JPEG + bytes(100_000)])
                    .dictionary_encode()
                    .take(pa.array([0] * 100_000)),
                    "text": ["a"] * 100_000,
                }
            ),
        ),
        unread("unpacks to more than"),
    ),
    Kind("the file is cut", with_file(as_images, parquet(ODD)[:-20]), unread("odd.parquet")),
    Kind(
        "a csv among them",
        with_file(as_images, b"text,image\na,b\n", "odd.csv"),
        refused("odd.csv is not parquet"),
    ),
    Kind(
        "images in tables without the kind",
        with_file(_as_tables, lambda: parquet(ODD)),
        refused("add pool.kind: image_tables"),
    ),
    Kind(
        "columns.image without the kind",
        with_file(as_tables, lambda: parquet(ODD), columns={"image": "image"}),
        refused("add kind: image_tables"),
    ),
]
