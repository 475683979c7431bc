"""The record of a report: the recipe that ran, as it would be written."""

import yaml

from pipeline.recipe.load import parse
from pipeline.view.numbers.record import recipe_yaml

KEEP = {
    "caption.words": {"min": 3},
    "side": {"column": "caption.side", "max": 640.5},
    "caption.aspect": {"top": 0.8},
    "caption.characters": {"bottom": "5 samples"},
}


def test_a_recipe_is_written_as_it_was_read():
    """Whole bounds are whole numbers again, and it parses to the same recipe."""
    data = {
        "name": "mine",
        "pool": {"shards": "pool", "store": "store"},
        "compute": {"caption": {"use": "caption.Caption"}},
        "keep": KEEP,
    }
    text = recipe_yaml(parse(data))
    assert yaml.safe_load(text) == data
    assert "min: 3\n" in text
    assert parse(yaml.safe_load(text)).keep == parse(data).keep
