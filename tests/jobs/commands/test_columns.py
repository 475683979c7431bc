"""`winnow columns`: the figures of `pipeline/view/profile.py`, shown."""

import json
import re
import shlex

import pytest

from tests.support.command import winnow
from tests.support.decided_pool import ordinary, sample, write_tar


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    """The recipe of a small pool that is computed."""
    folder = tmp_path_factory.mktemp("columns")
    ordinary(folder / "pool")
    path = folder / "r.yaml"
    path.write_text(
        f"pool: {{shards: {folder}/pool, store: {folder}/store}}\n"
        "compute: {caption: {use: caption.Caption}, digest: {use: duplicates.ImageDigest}}\n"
        "keep: {caption.words: {min: 3}, caption.language: {among: [en]}}\n"
    )
    assert winnow("compute", path, "--local").returncode == 0
    return path


def test_all_columns(recipe):
    done = winnow("columns", recipe)
    assert (done.returncode, done.stderr) == (0, "")
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["caption.words", "UInt32", "0", "1", "1", "3", "3", "3"] in rows
    assert ["image_format", "12", "x", "jpg", "0"] in rows
    assert "12 rows in 3 shards" in done.stdout
    found = json.loads(winnow("columns", recipe, "--json").stdout)
    assert found["columns"]["caption.words"]["quantiles"]["50%"] == 3
    assert ["digest.digest", "all", "values", "are", "different", "0"] in rows


def test_bytes_are_shown_as_digits(recipe):
    done = winnow("columns", recipe, "digest.digest")
    assert done.returncode == 0, done.stderr
    assert re.search(r"all values are different, such as [0-9a-f]{32}$", done.stdout.strip())


def test_one_column_with_the_cut_of_its_rule(recipe):
    lines = winnow("columns", recipe, "caption.words").stdout.splitlines()
    assert lines[0] == "caption.words  UInt32, 12 rows, 0 without a value"
    mark = next(number for number, line in enumerate(lines) if line.endswith("  caption.words >= 3"))
    assert lines[mark - 1].split()[:2] == ["2", "0"]
    assert lines[mark + 1].split()[:2] == ["3", "8"]
    assert lines[-1] == f"  winnow keep {recipe} --set keep.caption.words=null"
    for line in lines[lines.index("to try:") + 1 :]:  # what is suggested works
        assert winnow(*line.split()[1:]).returncode == 0


@pytest.mark.parametrize("word", ["no", "null", "12", "1e3", "en", "no-NO", "_"])
def test_a_text_that_is_suggested_can_be_set(recipe, tmp_path, word):
    """Of YAML's words, `no` is the code of Norwegian."""
    (tmp_path / "words.py").write_text(
        "import polars as pl\nfrom pipeline.operator import Score\n"
        "class Word(Score):\n    needs = ('text',)\n    writes = {'it': pl.String, 'nap': pl.Duration('us')}\n"
        "    def score(self, batch): return batch.select("
        f"it=pl.col('text').str.replace_all('(?s).+', '{word}'),"
        " nap=pl.duration(seconds=pl.col('text').str.len_chars()))\n"
    )
    path = tmp_path / "r.yaml"
    path.write_text(
        f"pool: {{shards: {recipe.parent}/pool, store: {tmp_path}/store}}\n"
        f"plugins: [{tmp_path}]\ncompute: {{word: {{use: words.Word}}}}\n"
    )
    assert winnow("compute", path, "--local").returncode == 0
    assert winnow("columns", path).returncode == 0  # with the durations
    lines = winnow("columns", path, "word.it").stdout.splitlines()
    done = winnow(*shlex.split(lines[-1])[1:], "--json")
    assert json.loads(done.stdout)["kept"] == 12


def test_texts_name_their_rule(recipe):
    shown = winnow("columns", recipe, "caption.language").stdout
    assert "rule caption.language: in en" in shown
    assert "keep.caption.language=null" in shown


@pytest.mark.parametrize(
    ("captions", "said"),
    [
        (["x" * 400 + "1", "x" * 410], "texts with the same first 400 characters are counted together"),
        (["x" * 80 + "1", "x" * 90], f"all values are different, such as {'x' * 77}..."),
        (["-", "-"], '"-"        2  100.0%'),
    ],
)
def test_texts_are_told_apart_by_their_beginnings(captions, said, tmp_path):
    files = [file for number, text in enumerate(captions) for file in sample(number, caption=text)]
    write_tar(tmp_path / "pool" / "a.tar", files)
    path = tmp_path / "r.yaml"
    path.write_text(
        f"pool: {{shards: {tmp_path}/pool, store: {tmp_path}/store}}\ncompute: {{}}\nkeep: {{}}\n"
    )
    winnow("compute", path, "--local")
    shown = winnow("columns", path, "text").stdout
    assert " ".join(said.split()) in " ".join(shown.split()), shown
    row = next(line for line in winnow("columns", path).stdout.splitlines() if line.startswith(" text "))
    assert ("all values are different" in row) == said.startswith("all")


def test_suggestions_for_a_shell(tmp_path):
    ordinary(tmp_path / "a pool")
    path = tmp_path / "the recipe.yaml"
    path.write_text(
        f"pool: {{shards: {tmp_path}/a pool, store: {tmp_path}/store}}\n"
        "compute: {caption: {use: caption.Caption}}\nkeep: {few words: {column: caption.words, min: 3}}\n"
    )
    assert winnow("compute", path, "--local").returncode == 0
    lines = winnow("columns", path, "caption.words").stdout.splitlines()
    suggested = [shlex.split(line) for line in lines[lines.index("to try:") + 1 :]]
    assert [words[-1] for words in suggested] == ["keep.few words.min=1", "keep.few words=null"]
    for words in suggested:
        assert winnow(*words[1:]).returncode == 0


def test_a_suggested_rule_for_a_column_without_one(recipe):
    lines = winnow("columns", recipe, "caption.side").stdout.splitlines()
    assert lines[-2:] == [
        f"  winnow keep {recipe} --set keep.caption.side.min=8",
        f"  winnow keep {recipe} --set keep.caption.side.top=0.3",
    ]
    assert winnow("keep", recipe, "--set", "keep.caption.side.top=0.3").returncode == 0


def test_an_unknown_column(recipe):
    done = winnow("columns", recipe, "caption.\x1b[31mword")
    assert (done.returncode, done.stdout) == (2, "")
    assert "did you mean caption.words?" in done.stderr
    assert "\x1b" not in done.stderr


def test_nothing_is_computed(recipe, tmp_path):
    done = winnow("columns", recipe, "--set", f"pool.store={tmp_path}/other")
    assert (done.returncode, "run `winnow compute` first" in done.stderr) == (2, True)


def test_reasons_are_whole(tmp_path):
    """`image header cannot be read` has 27 characters, more than are shown of a value."""
    write_tar(
        tmp_path / "pool" / "a.tar", [*sample(0), ("1.jpg", b"no picture"), ("1.txt", b"a caption of words")]
    )
    path = tmp_path / "r.yaml"
    path.write_text(
        f"pool: {{shards: {tmp_path}/pool, store: {tmp_path}/store}}\ncompute: {{caption: {{use: caption.Caption}}}}\n"
    )
    assert winnow("compute", path, "--local").returncode == 0
    shown = winnow("columns", path).stdout
    assert "caption: side, aspect 1 x image header cannot be read" in " ".join(shown.split())
