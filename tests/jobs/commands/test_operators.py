"""`winnow operators`: all of them in a line each, and everything about one."""

import json

import pytest

from jobs.manual.docstrings import modules, operators_of, section_parts
from tests.support.command import winnow

USES = {use: cls for module in modules() for use, cls in operators_of(module).items()}


def test_every_operator_is_listed_with_its_first_sentence():
    done = winnow("operators")
    assert (done.returncode, done.stderr) == (0, "")
    found = [line.split()[0] for line in done.stdout.splitlines() if line.strip().partition(" ")[0] in USES]
    assert found == list(USES)
    clip = next(line for line in done.stdout.splitlines() if " clip.ClipScore " in line)
    assert "ImageScore  How well an image and its caption match, by the cosine of their CLIP" in clip


@pytest.mark.parametrize("name", ["clip.ClipScore", "ClipScore", "clip", "Clip", "clipscore"])
def test_one_operator(name):
    shown = winnow("operators", name).stdout
    for part in (
        "How well an image and its caption match",
        "Use it as the main quality filter",
        "clip: {use: clip.ClipScore, model: ViT-L-14, pretrained: openai}",
        "clip.score: {top: 0.3}",
        "Source: Radford et al. 2021",
        "reads: pixels; the column named by `text`; the files named by `model`, `pretrained`",
    ):
        assert part in shown
    words = [line.split() for line in shown.splitlines()]
    assert ["model", "a", "file", "required"] in [line[:4] for line in words]
    assert [".score", "Float32", "cosine", "in", "[-1,", "1],"] in [line[:6] for line in words]


def test_a_module_shows_what_its_operators_share_once():
    shown = winnow("operators", "wfpp").stdout
    assert [line.split()[0] for line in shown.splitlines() if "───" in line and "." in line] == [
        "wfpp.WordFrequency",
        "wfpp.WordFrequencyScore",
    ]
    assert shown.count("Source: Liang & Larson") == 1


def test_numbers_and_texts_as_json():
    (clip,) = json.loads(winnow("operators", "clip.ClipScore", "--json").stdout)
    assert clip["parameters"][0] == {
        "name": "model",
        "kind": "a file",
        "default": "required",
        "meaning": "an open_clip name (ViT-L-14), a `hf-hub:` or `local-dir:` reference, or a config file (.json)",
    }
    assert clip["columns"][0]["name"] == "score"
    assert {each["use"] for each in json.loads(winnow("operators", "--json").stdout)} == set(USES)


def test_an_unknown_name():
    done = winnow("operators", "clip.ClipScor\x1b[31m")
    assert (done.returncode, done.stdout) == (2, "")
    assert (
        "is not an operator (did you mean clip.ClipScore?); modules: aesthetic, bias, caption," in done.stderr
    )
    assert "\x1b" not in done.stderr
    assert "did you mean" not in winnow("operators", "qqqqqqq").stderr


def test_the_operators_of_plugins(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from typing import Any, ClassVar\nimport polars as pl\nfrom pipeline.operator import Score\n\n"
        "class Shout(Score):\n"
        '    """How loud a caption [is]."""\n'
        "    needs = ('text',)\n    factor: float = 2.0\n    other: Any = None\n"
        "    writes: ClassVar[Any] = {'level': pl.Float32}\n"
        "    def score(self, batch):\n"
        "        return batch.select(level=pl.lit(1.0, pl.Float32))\n"
    )
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        f"pool: {{shards: {tmp_path}/pool, store: {tmp_path}/store}}\nplugins: [{tmp_path}/mine.py]\n"
        "compute: {loud: {use: mine.Shout}}\n"
    )
    done = winnow("operators", "Shout", "--recipe", recipe)
    assert done.returncode == 0
    for part in ("How loud a caption [is].", "reads: the caption", "mine: {use: mine.Shout}"):
        assert part in done.stdout
    words = [line.split() for line in done.stdout.splitlines()]
    assert ["factor", "number", "`2.0`"] in words
    assert [".level", "Float32"] in words
    assert winnow("operators", "mine.Shout").returncode == 2


def test_each_item_of_a_list_has_a_line_of_its_own():
    lines = [
        "so",
        "    many:",
        "    - half the",
        "      size: 1",
        "    - in grey - or not: 2",
        "    And",
        "    more.",
    ]
    assert section_parts(lines) == ("so many:", ["half the size: 1", "in grey - or not: 2"], "And more.")
    assert section_parts(["one", "    line"]) == ("one line", [], "")
    shown = winnow("operators", "duplicates.Exact").stdout.splitlines()
    assert "- half the size: 1.00, 1.00, 1.00, 1.00" in [line.rstrip() for line in shown]


def test_a_word_that_is_no_operator_leads_to_the_modules_that_mention_it():
    """The one that says it most often first."""
    done = winnow("operators", "SemDeDup")
    assert done.returncode == 2
    assert "'SemDeDup' is not an operator; modules that mention it: duplicates" in done.stderr
    said = winnow("operators", "xyzzy").stderr
    assert "'xyzzy' is not an operator; modules: aesthetic, bias," in said
    assert "`winnow operators` lists all, and with --recipe those of its plugins, too" in " ".join(
        said.split()
    )
