"""Every mistake in a recipe is one line that names the key, the value and what is allowed."""

# ruff: noqa: E501 (a table of broken recipes: one a line)

import pytest

from pipeline.errors import RecipeError
from tests.pipeline.recipe.recipe_texts import BROKEN, keep


@pytest.mark.parametrize("case", BROKEN)
def test_broken_recipe(case, recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text, expected = BROKEN[case]
    with pytest.raises(RecipeError) as raised:
        recipe(text)
    message = str(raised.value)
    for part in expected:
        assert part in message
    assert "\n" not in message
    assert not (tmp_path / "EVIL").exists()


def test_several_mistakes_are_a_line_each(recipe):
    with pytest.raises(RecipeError) as raised:
        recipe(
            keep("given.f32: {top: 30}", "given.f64: {min: 1, max: 2}")
            + "run: {given: {gpus: -1}}\nkeeps: {}"
        )
    lines = str(raised.value).splitlines()
    assert [line.split(" ")[0] for line in lines] == [
        "keep.given.f32.top", "keep.given.f64", "run.given.gpus", "keeps"
    ]  # fmt: skip
