"""Recipes that are as they should be, and files that cannot be read."""

# ruff: noqa: E501 (a table of broken recipes: one a line)

from pathlib import Path

import polars as pl
import pytest

from pipeline.recipe.check import column_types
from pipeline.recipe.load import load
from pipeline.recipe.sections import Resources
from tests.pipeline.recipe.recipe_texts import GOOD


def test_a_good_recipe(recipe):
    checked = recipe(GOOD)
    assert checked.name == "mine"
    assert list(checked.compute) == ["caption", "clip"]
    assert checked.operator("clip").pretrained == "openai"
    assert checked.keep["clip.score"].column == "clip.score"
    assert checked.keep["lucky"].column == "clip.score"
    assert checked.resources("clip") == Resources(gpus=1)
    assert checked.resources("caption") == Resources()


def test_empty_sections_are_fine(recipe):
    checked = recipe("pool: {shards: a.tar, store: s}\ncompute:\nkeep:\nexport:\nrun:\nplugins:\n")
    assert (checked.compute, checked.keep, checked.run) == ({}, {}, {})


def test_operators_come_in_dependency_order(recipe):
    checked = recipe(
        "pool: {shards: a.tar, store: s}\nplugins: [PLUGIN]\ncompute:\n"
        "  a: {use: planted.Plus, of: b.value}\n  b: {use: planted.Plus, of: c.value}\n  c: {use: planted.Length}\n"
    )
    assert list(checked.compute) == ["c", "b", "a"]


def test_anchors_and_merges_work(recipe):
    checked = recipe(GOOD + "  caption: &speed {batch_size: 64, workers: 2}\n")
    merged = GOOD.replace("{gpus: 1}", "{<<: &fast {gpus: 1, batch_size: 64}, batch_size: 32}")
    assert checked.resources("caption").batch_size == 64
    assert recipe(merged).resources("clip") == Resources(gpus=1, batch_size=32)


def test_types_of_columns_cover_all_that_operators_write(recipe):
    types = column_types(recipe(GOOD))
    assert types["clip.score"] == pl.Float32
    assert types["clip.image_embedding"] == pl.Array
    assert types["caption.language"] == pl.String
    assert types["width"] == pl.Int32


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[3] / "jobs" / "recipes").rglob("*.yaml")), ids=str
)
def test_the_recipes_that_come_along_parse(path: Path) -> None:
    made = load(str(path))
    assert made.keep or made.name == "no_filter"
    assert made.compute or made.pool.datacomp  # whose scores are there already
