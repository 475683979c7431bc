"""An explanation names every rule, with its value, its bound and its verdict."""

from dataclasses import asdict, replace

import polars as pl
import pytest

from pipeline.decide.decide import decide
from pipeline.decide.explain import explain, explain_rows
from pipeline.errors import RecipeError
from tests.support.samples import uid

FRAMES = {
    "a": pl.DataFrame({"f32": [0.25, 0.5], "u32": [1, 5]}),
    "b": pl.DataFrame(
        {"f32": [None], "u32": [3], "error": ["no image"]}, schema_overrides={"f32": pl.Float32}
    ),
}
KEEP = {
    "given.f32": {"top": 0.5},
    "low": {"column": "given.u32", "max": 4},
    "given.word": {"among": ["en"], "missing": "keep"},
}


def test_every_field_of_an_explanation(stored):
    session = stored(FRAMES, KEEP)
    decide(session)
    (explanation,) = explain(session, [f" {uid('b', 0).upper()} "])
    assert asdict(explanation) == {
        "uid": uid("b", 0),
        "shard": "b",
        "row": 0,
        "key": "00000",
        "text": "caption number 0",
        "url": None,
        "width": 24,
        "height": 16,
        "keep": False,
        "rules": [
            {"rule": "given.f32", "column": "given.f32", "value": None, "bound": ">= 0.5 (top 50%)"}
            | {"verdict": "no value", "why": "no image", "draw": None},
            {"rule": "low", "column": "given.u32", "value": 3, "bound": "<= 4"}
            | {"verdict": "passes", "why": None, "draw": None},
            {"rule": "given.word", "column": "given.word", "value": None, "bound": "in en"}
            | {"verdict": "no value, passes", "why": "no image", "draw": None},
        ],
        "evidence": {},
        "lacks": None,
        "groups": {},
        "captions": (),
    }


def test_the_caption_that_exports_write_comes_first(stored):
    frames = {"a": pl.DataFrame({"f32": [0.5, 0.6], "word": ["chosen", None]})}
    session = stored(frames, {"given.f32": {"min": 0.1}})
    export = session.recipe.export.model_copy(update={"caption": "given.word"})
    session = replace(session, recipe=session.recipe.model_copy(update={"export": export}))
    decide(session)
    first, second = explain_rows(session, [("a", 0), ("a", 1)])
    assert (first.text, first.captions) == ("chosen", ("caption number 0",))
    assert (second.text, second.captions) == (None, ("caption number 1",))


def test_a_sample_is_kept_dropped_or_failed_as_the_funnel_counts_it(stored):
    session = stored(FRAMES, KEEP)
    decision = decide(session)
    explanations = explain(session, [uid("a", 0), uid("a", 1), uid("b", 0)])
    fates = [explanation.fate for explanation in explanations]
    assert fates == ["dropped", "dropped", "failed"]
    assert (decision.kept, decision.dropped, decision.failed) == (0, 2, 1)


def test_explanations_come_in_the_order_of_the_uids(stored):
    session = stored(FRAMES, KEEP)
    decide(session)
    wanted = [uid("b", 0), uid("a", 1), uid("a", 0)]
    explanations = explain(session, wanted)
    assert [explanation.uid for explanation in explanations] == wanted
    assert [[rule.verdict for rule in explanation.rules][:2] for explanation in explanations] == [
        ["no value", "passes"],
        ["passes", "fails"],
        ["fails", "passes"],
    ]


def test_a_uid_that_the_pool_lacks(stored):
    session = stored(FRAMES, KEEP)
    decide(session)
    with pytest.raises(RecipeError) as caught:
        explain(session, ["1" * 32, uid("a", 0), "0" * 32])
    assert str(caught.value).split("\n") == [
        f"no sample of the pool has the uid {digit * 32}" for digit in ("1", "0")
    ]
