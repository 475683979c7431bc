"""The columns of a sample as operators see them and as they are stored."""

import polars as pl

from pipeline.schema import SAMPLE_COLUMNS, SAMPLE_SCHEMA


def test_sample_columns_are_those_of_the_samples_table():
    schema = pl.DataFrame(SAMPLE_SCHEMA.empty_table()).schema
    assert {name: schema[name] for name in SAMPLE_COLUMNS} == dict(SAMPLE_COLUMNS)
    assert set(schema) - set(SAMPLE_COLUMNS) == {"error"}
