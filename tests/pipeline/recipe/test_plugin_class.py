"""A slip in the class of a plugin is one line that says what to write, before any work."""

import pytest

from pipeline.errors import RecipeError
from pipeline.recipe.lookup import build

HEAD = """import polars as pl
from pipeline.operator import Group, ImageScore, Score, Stat, SummaryGroup
"""
SCORE = (
    HEAD
    + """class Mine(Score):
    needs = ("text",)
    writes = {"score": pl.Float32, "vector": pl.Array, "words": pl.List(pl.String)}
    def score(self, batch): ...
"""
)
NEEDS = 'needs = ("text",)'
WRITES = 'writes = {"score": pl.Float32, "vector": pl.Array, "words": pl.List(pl.String)}'


def built(tmp_path, source):
    file = tmp_path / "mine.py"
    file.write_text(source)
    return build("it", {"use": "mine.Mine"}, [str(file)])


def test_a_whole_class_is_taken(tmp_path):
    assert built(tmp_path, SCORE).operator.needs == ("text",)
    assert built(tmp_path, SCORE.replace(NEEDS, 'needs = ["text"]')).operator.needs == ["text"]


def test_one_that_works_ahead_needs_no_score(tmp_path):
    ahead = SCORE.replace("(Score)", "(ImageScore)").replace(
        "def score(self, batch)",
        "def works_ahead(self): return True\n    def complete(self, batch, launched)",
    )
    assert built(tmp_path, ahead).operator.works_ahead()
    with pytest.raises(RecipeError, match=r"is an ImageScore and must define complete\(\)"):
        built(tmp_path, ahead.replace("complete", "completed"))


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (NEEDS, 'needs = ("text")', """must give `needs` as a tuple, got the text 'text': write needs = ("text",)"""),
        (NEEDS, "needs = (1,)", """must give `needs` as a tuple of columns, such as needs = ("text",), got (1,)"""),
        (WRITES, "", 'must say in `writes` which columns it adds, such as writes = {"score": pl.Float32}'),
        (WRITES, 'writes = ["score"]', "must give `writes` as a mapping of columns to polars types, such as"),
        (WRITES, 'writes = {"n": int}', "must give writes['n'] as a polars type such as pl.Int64, got <class 'int'>"),
        (WRITES, 'writes = {"n": "f4"}', "must give writes['n'] as a polars type such as pl.Float32, got 'f4'"),
        (WRITES, 'writes = {"n": pl.Object}', "cannot store writes['n'] as Object: numbers of 64 bits at most"),
        (WRITES, 'writes = {"n": pl.List(pl.Int128)}', "cannot store writes['n'] as List(Int128"),
        (WRITES, 'writes = {"error": pl.String}', "cannot call a column of `writes` 'error'"),
        ("def score", "def scores", "is a Score and must define score() (did you mean scores?)"),
        ("class Mine(Score)", "class Mine(Group)", "is a Group and must define keys()"),
        ("class Mine(Score)", "class Mine(SummaryGroup)", "is a SummaryGroup and must define keys()"),
        ("class Mine(Score)", "class Mine", "is not an operator; derive it from Score, ImageScore, BytesScore"),
    ],
)  # fmt: skip
def test_a_slip(tmp_path, old, new, expected):
    with pytest.raises(RecipeError) as raised:
        built(tmp_path, SCORE.replace(old, new))
    message = str(raised.value)
    assert message.startswith("compute.it")
    assert expected in message
    assert "\n" not in message


def test_a_stat_without_partial(tmp_path):
    with pytest.raises(RecipeError, match=r"^compute\.it: mine\.Mine is a Stat and must define partial\(\)$"):
        built(tmp_path, HEAD + "class Mine(Stat):\n    def merge(self, parts): ...\n")


def test_a_method_of_a_base_between_them_counts(tmp_path):
    assert built(tmp_path, SCORE.replace("Mine", "Base") + "class Mine(Base):\n    times: int = 2\n").source


def test_a_field_without_a_type(tmp_path):
    with pytest.raises(RecipeError, match=r"times = 3 has no type: a parameter needs one"):
        built(tmp_path, SCORE + "    times = 3\n")


def test_a_plugin_cannot_import_its_neighbour(tmp_path):
    (tmp_path / "some_words.py").write_text("WORDS = ()\n")
    with pytest.raises(RecipeError, match="put what it needs of some_words into it, or install some_words"):
        built(tmp_path, "from some_words import WORDS\n" + SCORE)
    with pytest.raises(RecipeError, match=r"No module named 'not_there_at_all'$"):
        built(tmp_path, "import not_there_at_all\n" + SCORE)
