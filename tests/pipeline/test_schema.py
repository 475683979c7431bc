"""The columns of a sample as operators see them and as they are stored."""

import numpy as np
import polars as pl
import pytest

from pipeline.schema import SAMPLE_COLUMNS, SAMPLE_SCHEMA, is_storable


def test_sample_columns_are_those_of_the_samples_table():
    schema = pl.DataFrame(SAMPLE_SCHEMA.empty_table()).schema
    assert {name: schema[name] for name in SAMPLE_COLUMNS} == dict(SAMPLE_COLUMNS)
    assert set(schema) - set(SAMPLE_COLUMNS) == {"error"}


@pytest.mark.parametrize(
    "dtype",
    [
        *(pl.Float32, pl.Int8(), pl.String, pl.Boolean, pl.Binary, pl.Date, pl.Categorical, pl.Null),
        *(
            pl.List,
            pl.Struct,
            pl.Datetime,
            pl.Array,
            pl.Array(pl.Float32, 3),
            pl.List(pl.List(pl.String)),
            pl.Struct({"a": pl.Int8}),
        ),
        *(pl.Datetime("us"), pl.Decimal(10, 2), pl.Enum(["a"])),
    ],
)
def test_types_that_a_column_can_have(dtype):
    assert is_storable(dtype)


@pytest.mark.parametrize(
    "dtype",
    [
        *(float, "f32", None, 3, np.float32, np.dtype("f4"), pl.DataFrame, [pl.Int8]),
        *(
            pl.Object,
            pl.Object(),
            pl.Unknown,
            pl.Int128,
            pl.UInt128(),
            pl.List(pl.Int128),
            pl.List(pl.Object),
            pl.Struct({"a": pl.List(pl.Object)}),
        ),
    ],
)
def test_types_that_no_column_can_have(dtype):
    assert not is_storable(dtype)
