"""The planted bias of the demo's drawn scenes: nearly all hearts are red."""

import random
from pathlib import Path

import polars as pl
import pytest
import yaml

import jobs.toy
from jobs.toy.scenes import describe, random_scene
from operators.bias import Mentions, MomentMatching, Patterns
from pipeline.operator import Device
from pipeline.uids import draw
from tests.support.samples import uid

TOY = Path(jobs.toy.__file__).parent
FIELDS = yaml.safe_load((TOY.parent / "recipes" / "demo.yaml").read_text())["compute"]["matched"]


def test_a_colour_that_nearly_always_goes_with_one_thing():
    """With the demo's words and fields. Before, hearts are far more frequent with red; after, as frequent as
    without it, and red is as frequent as other colours."""
    rng = random.Random(0)
    captions = [describe(random_scene(rng), rng) for _ in range(6000)]
    frame = pl.DataFrame({"text": captions, "uid": [uid("s", row) for row in range(6000)]})
    for name, file in (("red", "red.txt"), ("heart", "hearts.txt")):
        made = Mentions(words=str(TOY / "words" / file)).model_copy()
        made.setup({}, Device())
        frame = frame.with_columns(made.score(frame)["mentioned"].alias(f"{name}.mentioned"))
    stat = Patterns(attributes=FIELDS["attributes"], labels=FIELDS["labels"])
    before = stat.finish(stat.merge(stat.partial(frame)))
    made = MomentMatching(**{key: value for key, value in FIELDS.items() if key != "use"}).model_copy()
    made.setup({"patterns": before}, Device())
    kept = frame.filter(pl.Series(draw(0, frame["uid"])) < made.score(frame)["weight"])
    tables = stat.compare(before, stat.finish(stat.merge(stat.partial(kept))), {})
    (_, _, gap, gap_after) = tables["association"].row(0)
    assert gap > 0.25
    assert abs(gap_after) < 0.03
    assert tables["representation"]["before"][0] > 0.23
    assert tables["representation"]["after"][0] == pytest.approx(0.17, abs=0.01)
    assert len(kept) == pytest.approx(0.87 * 6000, abs=120)
