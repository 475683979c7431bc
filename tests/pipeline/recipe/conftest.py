"""Fixtures of the tests of `pipeline.recipe`."""

# ruff: noqa: E501 (a table of broken recipes: one a line)

import pytest

from pipeline.recipe.load import load
from pipeline.recipe.sections import Recipe


@pytest.fixture
def recipe(tmp_path, planted):
    """Write a recipe's text and load it, `PLUGIN` standing for the planted operators."""

    def build(text: str, *overrides: str) -> Recipe:
        path = tmp_path / "mine.yaml"
        path.write_text(text.replace("PLUGIN", planted), encoding="utf-8")
        return load(str(path), overrides)

    return build
