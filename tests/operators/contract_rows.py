"""Rows that operators under contract are tried on: ordinary ones, bad ones, columns and Stats of other
operators."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import polars as pl
from polars.testing import assert_frame_equal

from pipeline.operator import BytesScore, ImageScore, Stat
from pipeline.recipe.lookup import build
from pipeline.run.decode import decode
from tests.operators.contract_files import ROWS, WIDTH
from tests.operators.contract_parameters import BOTH, REFERENCE
from tests.support.samples import picture, samples, uid

STATS = {
    "table": pl.DataFrame({"value": [24.0, 25.0], "count": [5, 7]}),
    "words": pl.DataFrame({"word": ["a", "dog", "beach"], "count": [900, 80, 7]}),
    "counts": pl.DataFrame(
        {
            "language": ["en"] * 6,
            "entry": [None, *range(5)],
            "count": [4, 20, 9, 30, 12, 40],
            "texts": [9, *[0] * 5],
        },
        schema={"language": pl.String, "entry": pl.UInt32, "count": pl.UInt64, "texts": pl.UInt64},
    ),
}
STATS["others"] = STATS["counts"]
STATS["score_counts"] = pl.DataFrame({"bin": [0, 2000, 5000], "count": [9, 19, 9]})
STATS["batches"] = pl.DataFrame(
    {"batch": np.arange(20, dtype=np.uint32) // 10, "uid": [uid("s", row * 3) for row in range(20)]}
).with_columns(
    pl.Series(side, np.random.default_rng(seed).standard_normal((20, WIDTH)).astype(np.float16))
    for seed, side in enumerate(BOTH)
)
STATS["sizes"] = pl.DataFrame({"cluster": range(5), "count": [9, 1, 2, 9, 4]})
STATS["centroids"] = pl.DataFrame(
    {"vector": pl.Series(np.random.default_rng(2).random((6, WIDTH), np.float32) / WIDTH**0.5)}
)
STATS["leaders"] = pl.DataFrame(
    {"uid": [uid("s", 4), uid("s", 6)], "leader": [uid("s", 0)] * 2, "distance": [7, 31]},
    schema_overrides={"distance": pl.UInt16},
)
ROW, BOXES = pl.col("row"), pl.List(pl.List(pl.Float32))
COLUMNS: Mapping[str, pl.Expr] = {  # columns of other operators that some operator reads
    "captions": pl.concat_list("text", pl.lit("a dog on grass")),
    "entries.ids": pl.concat_list(ROW % 3, 3 + ROW % 2).cast(pl.List(pl.UInt32)),
    "at.language": pl.when(ROW % 4 > 0).then(pl.lit("en")).otherwise(pl.lit("de")),
    "clip.image_embedding": pl.concat_list((ROW + d) % 7 / 28 for d in range(WIDTH)).cast(
        pl.Array(pl.Float16, WIDTH)
    ),
    "clip.text_embedding": pl.concat_list((ROW + d) % 5 / 19 for d in range(WIDTH)).cast(
        pl.Array(pl.Float16, WIDTH)
    ),
    "pdq.hash": ROW.map_elements(lambda row: bytes([row % 3]) * 32, pl.Binary),
    "equal.rank": (ROW % 2 + 1).cast(pl.UInt32),
    "equal.first": pl.when(ROW % 2 == 1).then(pl.lit(uid("s", 0))),
    "bands.bands": pl.concat_list(ROW % 7, 7 + ROW % 2).cast(pl.List(pl.UInt64)),
    "near.neighbours": pl.when(ROW % 3 > 0).then(pl.concat_list(pl.lit(uid("s", 0)), pl.lit(uid("s", 3)))),
    "near.distances": pl.when(ROW % 3 > 0).then(pl.concat_list(ROW % 9, pl.lit(30)).cast(pl.List(pl.UInt16))),
    "near.cluster": (ROW % 5).cast(pl.Int32),
    "near.similarity": (ROW % 13 / 14).cast(pl.Float32),
    "clip.score": (ROW % 9 / 11).cast(pl.Float32),
    "masked.score": (ROW % 8 / 13).cast(pl.Float32),
    "co.score": (ROW % 5 / 7).cast(pl.Float32),
    "text.words": pl.when(ROW % 3 > 0)
    .then(pl.concat_list(pl.lit("a dog"), pl.lit("Strandd"), (ROW % 2).cast(pl.String)))
    .otherwise(pl.lit([], pl.List(pl.String))),
    "text.boxes": pl.when(ROW % 3 > 0)
    .then(pl.lit([[x, 0.0, 9.0, 0.0, 9.0, 5.0, x, 5.0] for x in range(3)], BOXES))
    .otherwise(pl.lit([], BOXES)),
    "parrot.rate": (ROW % 3 / 3).cast(pl.Float32),
    "parrot.fuzzy_rate": (ROW % 4 / 3).cast(pl.Float32),
}


def reference() -> pl.DataFrame:
    """Of other rows than those that are scored, and some of them."""
    made = build("it", {"use": "outliers.Reference", **REFERENCE}, []).operator
    assert isinstance(made, Stat)
    rows = (
        samples(50)
        .with_columns(**COLUMNS)
        .with_columns(
            pl.col("clip.image_embedding")
            .arr.to_list()
            .list.eval(pl.element() + 0.1)
            .cast(pl.Array(pl.Float16, WIDTH))
        )
    )
    return made.finish(made.partial(rows[20:]))


STATS["reference"] = reference()


def made_table(use: str, **fields: object) -> pl.DataFrame:
    """The table of a Stat over the rows that are scored."""
    made = build("it", {"use": use, **fields}, []).operator
    assert isinstance(made, Stat)
    return made.finish(made.merge(made.partial(batch()[0])))


CAPTIONS = [
    "a dog on a beach",
    "Ein Hund am Strand",
    "沙滩上的一只狗",
    "x",
    "12345",
    "2 dogs, IMG_2041.JPG",
    "a dog " * 60,
    "🐶🏖",
    "A  dog\n\ton a beach ",
    "été",
]


def batch(rows: int = ROWS) -> tuple[pl.DataFrame, list[np.ndarray | None]]:
    """Ordinary rows: every caption and image is there. The pictures are the caller's own."""
    frame, images = _batch(rows)
    return frame, [image.copy() for image in images]


@cache
def _batch(rows: int) -> tuple[pl.DataFrame, list[np.ndarray]]:
    """See `batch`: made once, as hundreds of tests ask for it."""
    sizes = [(24 + row % 5, 16 + row % 3) for row in range(rows)]
    frame = samples(
        rows,
        text=[CAPTIONS[row % len(CAPTIONS)] for row in range(rows)],
        width=[width for width, _ in sizes],
        height=[height for _, height in sizes],
        original_width=[48 + row for row in range(rows)],
        original_height=[99] * rows,
        image_length=[100] * rows,
    ).with_columns(**COLUMNS)
    return frame, [decode(picture(row, *size))[0] for row, size in enumerate(sizes)]


def bad(rows: int) -> pl.DataFrame:
    """Rows that have nothing but a name."""
    frame = samples(rows, text=[None] * rows, width=[None] * rows, height=[None] * rows)
    empty = batch(1)[0]
    return frame.with_columns(pl.lit(None, empty.schema[name]).alias(name) for name in COLUMNS)


STATS["scales"] = made_table("mix.Standardised", scores=["clip.score", "masked.score"])
STATS["probe"] = made_table("first_look.Probe", embedding="clip.image_embedding", found="clip.score")
STATS["bank"] = made_table("hubs.Bank", **BOTH, size=9)
STATS["patterns"] = made_table(
    "bias.Patterns", attributes="near.cluster", labels=["clip.score", "masked.score"]
)


def run(operator: Any, frame: pl.DataFrame, images: list[np.ndarray | None]) -> pl.DataFrame:
    """What an operator makes of a batch."""
    if isinstance(operator, BytesScore):
        data = [None if image is None else memoryview(image.tobytes()) for image in images]
        return operator.score(frame, data)
    return operator.score(frame, images) if isinstance(operator, ImageScore) else operator.score(frame)


def exactly(one: pl.DataFrame, two: pl.DataFrame) -> None:
    """Assert that two tables are equal to the bit."""
    assert_frame_equal(one, two, check_exact=True)
    for name in one.columns:  # floats compare equal as 0.0 and -0.0; bytes do not
        assert one[name].to_arrow().equals(two[name].to_arrow())
