"""A key covers all that a result depends on, and nothing else."""

from typing import Annotated, Any

from pydantic import Field

from pipeline.operator import YOUNG, Column, ImageScore, Score, Stat, Writer
from pipeline.plan.keys import cache_key, input_keys, parameters
from pipeline.recipe.limits import DEFAULTS, Limits
from pipeline.recipe.sections import Entry


class Sum(Score):
    of: Column
    t: float | None = 0.0


def key(operator: Writer | Stat, use: str = "a.Sum", inputs: Any = (), contents: Any = ()) -> str:
    return cache_key(use, operator, dict(inputs), dict(contents))


def test_a_key_is_16_hex_digits_of_what_it_covers():
    base = key(Sum(of="x.y"))
    assert len(base) == 16
    assert int(base, 16) >= 0
    others = [
        key(Sum(of="x.z")),
        key(Sum(of="x.y", t=1)),
        key(Sum(of="x.y"), use="b.Sum"),
        key(Sum(of="x.y"), inputs={"x.y": "1"}),
        key(Sum(of="x.y"), inputs={"x.y": "2"}),
        key(Sum(of="x.y"), contents={"t": "1"}),
    ]
    assert len({base, *others}) == 7
    assert key(Sum(of="x.y", t=0)) == base


def test_numbers_that_json_lacks_are_told_apart():
    keys = {key(Sum(of="x.y", t=t)) for t in (float("inf"), float("-inf"), float("nan"), None)}
    assert len(keys) == 4


def test_a_version_is_part_of_the_key():
    class Later(Sum):
        version = 2

    assert key(Later(of="x.y")) != key(Sum(of="x.y"))


def test_a_young_field_counts_once_it_is_set():
    """Stores made before an operator had it stay complete, also those of a class that inherits it."""

    class Grown(Sum):
        scale: Annotated[float, Field(gt=0), YOUNG] = 1
        mask: Annotated[Column, YOUNG] = ""

    class Heir(Grown):
        pass

    before = key(Sum(of="x.y"))
    assert key(Grown(of="x.y")) == key(Grown(of="x.y", scale=1.0, mask="")) == key(Heir(of="x.y")) == before
    assert parameters(Grown(of="x.y", scale=2)) == {"of": "x.y", "t": 0.0, "scale": 2.0}
    assert len({before, key(Grown(of="x.y", scale=2)), key(Grown(of="x.y", mask="z.w"))}) == 3


def test_a_young_field_that_is_true_does_not_have_the_default_1():
    class Grown(Sum):
        scale: Annotated[float | bool, YOUNG] = 1

    assert parameters(Grown(of="x.y", scale=True)) == {"of": "x.y", "t": 0.0, "scale": True}
    assert parameters(Grown(of="x.y", scale=1.0)) == {"of": "x.y", "t": 0.0}


def test_limits_are_part_of_the_keys_that_depend_on_them():
    """Of operators that see images, and only if they differ from the defaults."""
    limits = Limits(image_scans=500)
    image, text = Entry("a.Image", ImageScore()), Entry("a.Sum", Sum(of="text"))
    assert input_keys(image, {}, DEFAULTS) == input_keys(text, {}, limits) == {}
    assert input_keys(image, {}, limits) == {"limits.image_scans": "500"}
