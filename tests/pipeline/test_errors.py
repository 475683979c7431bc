"""The words that messages of several modules share."""

import polars as pl

from pipeline.errors import guess, is_fault, unknown, worded


def test_guess():
    assert guess("clip.skore", ["caption.words", "clip.score"]) == " (did you mean clip.score?)"
    assert guess("clipscore", ["ClipScore"]) == " (did you mean ClipScore?)"  # in either case
    assert guess("zzz", ["caption.words", "clip.score"]) == ""
    assert guess("zzz", {}) == ""


def test_unknown():
    known = {"b": 1, "a": 2}
    assert unknown("zzz", "a rule", known) == "zzz is not a rule; there are: b, a"
    assert unknown("zzz", "a rule", []) == "zzz is not a rule; there are: none"
    assert unknown("scores", "a rule", ["score"]) == "scores is not a rule (did you mean score?)"
    assert unknown("z" * 400, "a rule", ["a"]).startswith("z" * 300 + "... (400 characters) is not a rule")


def test_an_error_that_cannot_say_what_it_is():
    class Mute(Exception):
        def __str__(self):
            raise RuntimeError("no words")

    assert worded(Mute()) == "Mute: its text cannot be made: RuntimeError"


def test_faults_are_all_errors_but_a_stop_from_outside():
    faults = [ValueError(), SystemExit(1), pl.exceptions.PanicException("a panic is no Exception")]
    assert all(map(is_fault, faults))
    assert not any(map(is_fault, [KeyboardInterrupt(), GeneratorExit()]))
