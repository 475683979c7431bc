"""The words that messages of several modules share."""

from pipeline.errors import guess, unknown


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
