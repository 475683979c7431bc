"""`--set KEY=VALUE`: what it changes, and what is wrong with it."""

# ruff: noqa: E501 (a table of broken recipes: one a line)

import pytest
import yaml

from pipeline.errors import RecipeError
from pipeline.recipe.load import parse
from tests.pipeline.recipe.recipe_texts import GOOD

# --- overrides -------------------------------------------------------------------------------------


def test_set_a_bound(recipe):
    checked = recipe(
        GOOD, "keep.clip.score.top=0.2", "run.clip.gpus=0", "compute.clip.pretrained=laion400m_e32", "name=x"
    )
    assert checked.keep["clip.score"].top == 0.2
    assert checked.resources("clip").gpus == 0
    assert checked.operator("clip").pretrained == "laion400m_e32"
    assert checked.name == "x"


def test_a_bound_takes_the_place_of_another(recipe):
    checked = recipe(GOOD, "keep.clip.score.min=0.25", "keep.lucky.top=0.5")
    assert (checked.keep["clip.score"].min, checked.keep["clip.score"].top) == (0.25, None)
    assert (checked.keep["lucky"].top, checked.keep["lucky"].chance) == (0.5, None)
    checked = recipe(GOOD, "keep.lucky.seed=9", "keep.lucky.missing=keep", "keep.lucky.chance=true")
    assert (checked.keep["lucky"].seed, checked.keep["lucky"].missing) == (9, "keep")


def test_new_entries(recipe):
    checked = recipe(
        GOOD,
        "keep.caption.language.among=[en, de]",
        "keep.new={column: caption.side, min: 200}",
        "keep.caption.aspect={max: 3}",
        "run.caption.batch_size=512",
        "export.subset=out.npy",
        "export.index.embedding=clip.image_embedding",
        "export.index.path=out/index",
        "compute.again={use: caption.Caption}",
    )
    assert checked.keep["caption.language"].among == ("en", "de")
    assert (checked.keep["new"].column, checked.keep["new"].min) == ("caption.side", 200)
    assert checked.keep["caption.aspect"].max == 3
    assert checked.resources("caption").batch_size == 512
    assert (checked.export.subset, checked.export.index.path) == ("out.npy", "out/index")
    assert "again" in checked.compute


def test_set_on_a_recipe_without_the_section(recipe):
    checked = recipe("pool: {shards: a.tar, store: s}\nkeep:\n", "keep.width.min=200", "pool.store=other")
    assert checked.keep["width"].min == 200
    assert checked.pool.store == "other"


def test_a_bound_whose_column_has_dots(recipe):
    entry = (
        "compute.fit={use: ranking.Eligible, by: width, bounds: {width: {min: 9}, caption.words: {min: 3}}}"
    )
    checked = recipe(GOOD, entry, "compute.fit.bounds.caption.words.min=5", "compute.fit.by=height")
    fit = checked.operator("fit")
    assert (fit.by, fit.bounds["width"].min, fit.bounds["caption.words"].min) == ("height", 9, 5)


def test_values_are_yaml(recipe):
    assert recipe(GOOD, "pool.store=a=b").pool.store == "a=b"
    assert recipe(GOOD, "pool.shards=[a.tar, b.tar]").pool.shards == ("a.tar", "b.tar")


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        (
            "keep.clip.score.top",
            "--set takes KEY=VALUE, such as keep.clip.score.top=0.2, got 'keep.clip.score.top'",
        ),
        ("=3", "--set takes KEY=VALUE"),
        ("name={", "--set name={: the value is not valid YAML"),
        (
            "name=!!python/object/apply:os.system [touch EVIL]",
            "the tag !!python/object/apply:os.system is not allowed",
        ),
        ("name.x=1", "--set name.x=1: name is 'mine', not a mapping"),
        ("keep.clip.score.top=30", "keep.clip.score.top must be in (0, 1], got 30 (did you mean 0.30?)"),
        ("keep.clip.score.tpo=0.3", "keep.clip.score.tpo is not a known key (did you mean top?)"),
        (
            "keep.clop.score.top=0.3",
            "keep.clop.score: clop.score is not a column of this recipe (did you mean clip.score?)",
        ),
        ("keep.min=3", "keep.min"),
        ("keep.clip.score=0.3", "--set keep.clip.score=0.3: did you mean keep.clip.score.top=...?"),
        ("clip.score.top=0.3", "--set clip.score.top=0.3: did you mean keep.clip.score.top=...?"),
        ("clip.pretrained=x", "--set clip.pretrained=x: did you mean compute.clip.pretrained=...?"),
        ("nothing.at.all=1", "nothing is not a known key"),
        ("run.clip.batch_size=many", "run.clip.batch_size must be a valid integer"),
    ],
)
def test_overrides_that_are_wrong(override, expected, recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RecipeError) as raised:
        recipe("name: mine" + GOOD, override)
    assert expected in str(raised.value)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "EVIL").exists()


def test_parse_does_not_change_what_it_is_given(planted):
    data = yaml.safe_load(GOOD)
    before = yaml.safe_dump(data)
    parse(data)
    assert yaml.safe_dump(data) == before
