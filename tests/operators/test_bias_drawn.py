"""A planted bias: one colour nearly always with one object, in the demo's drawn scenes."""

import random
from dataclasses import replace

import polars as pl
import pytest

from jobs.toy.scenes import COLOURS, describe, random_scene
from operators.bias import Mentions, MomentMatching, Patterns
from pipeline.operator import Device
from pipeline.uids import draw
from tests.support.samples import uid


def drawn_captions(count: int) -> list[str]:
    """Of the demo's scenes, in which nine of ten hearts are red."""
    rng, captions = random.Random(0), []
    for _ in range(count):
        scene = random_scene(rng)
        groups = [
            replace(group, colour="red") if group.thing == "heart" and rng.random() < 0.9 else group
            for group in scene.groups
        ]
        captions.append(describe(replace(scene, groups=tuple(groups)), rng))
    return captions


def test_a_colour_that_nearly_always_goes_with_one_thing(tmp_path):
    """In drawn scenes: before, red is far more frequent with hearts; after, as often as without."""
    frame = pl.DataFrame({"text": drawn_captions(6000), "uid": [uid("s", row) for row in range(6000)]})
    for name, words in (("heart", "heart\nhearts"), ("red", "\n".join(COLOURS["red"][1]))):
        (tmp_path / f"{name}.txt").write_text(words)
        made = Mentions(words=f"{tmp_path}/{name}.txt").model_copy()
        made.setup({}, Device())
        frame = frame.with_columns(made.score(frame)["mentioned"].alias(f"{name}.mentioned"))
    names = {"attributes": "heart.mentioned", "labels": "red.mentioned"}
    stat = Patterns(**names)
    before = stat.finish(stat.merge(stat.partial(frame)))
    fields = {"targets": [0.01], "rate": 0.85, "representation": 0.001, "association": 0.0001}
    made = MomentMatching(**names, patterns="patterns", **fields).model_copy()
    made.setup({"patterns": before}, Device())
    kept = frame.filter(pl.Series(draw(0, frame["uid"])) < made.score(frame)["weight"])
    tables = stat.compare(before, stat.finish(stat.merge(stat.partial(kept))), {})
    (_, _, gap, gap_after) = tables["association"].row(0)
    assert gap > 0.6
    assert abs(gap_after) < 0.15
    assert tables["representation"]["after"][0] == pytest.approx(0.01, abs=0.004)
    assert len(kept) == pytest.approx(0.85 * 6000, abs=150)
