"""`winnow compare`: tables, JSON and the page."""

import json
import re

import pytest

from tests.support.command import winnow
from tests.support.decided_pool import sample, write_tar
from tests.support.opened_pool import computed, opened, write_recipe

LOOSE = "keep.caption.characters.min=1"  # the samples of `opened`: 8 of 12 captions have three characters


@pytest.fixture
def recipe(tmp_path):
    return opened(tmp_path)


def test_one_recipe_is_compared_with_itself_under_other_rules(recipe):
    done = winnow("compare", recipe, "--set", LOOSE)
    assert done.returncode == 0, done.stderr
    assert "A keeps, B does not: none" in done.stdout
    assert "B keeps, A does not: 4" in done.stdout
    assert re.search(r"caption\.characters +4 +4 +0 +4", done.stdout)
    assert "both keep 8, A alone 0, B alone 4: 66.7% of what either keeps (Jaccard 0.667)" in done.stdout
    assert "matched by shard and row: 12 samples in both pools" in done.stdout
    assert done.stderr == ""


def test_two_recipes_as_json(recipe, tmp_path):
    other = write_recipe(tmp_path, "other", {"caption.words": {"max": 1}})
    done = winnow("compare", recipe, other, "--json")
    told = json.loads(done.stdout)
    assert (told["kept_both"], told["only_a"]["samples"], told["only_b"]["samples"]) == (0, 8, 4)
    assert told["only_a"]["rules"]["caption.words"] == {
        "bound": "<= 1",
        "first": 8,
        "fails": 8,
        "no_value": 0,
        "alone": 8,
    }
    assert told["a"]["recipe"] == str(recipe)
    assert told["b"]["recipe"] == str(other)


def test_the_page_shows_pictures_and_is_the_same_each_time(recipe, tmp_path):
    page = tmp_path / "difference.html"
    done = winnow("compare", recipe, "--set", LOOSE, "--out", page, "--pictures", 3)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{page}\n"
    assert "pictures: 3, " in done.stderr
    text = page.read_text()
    assert text.count("data:image/jpeg;base64,") == 3
    assert "3 of 4" in text
    assert re.findall(r"(?:https?:)?//[a-z]", text) == []
    winnow("compare", recipe, "--set", LOOSE, "--out", page, "--pictures", 3)
    assert page.read_text() == text
    winnow("compare", recipe, "--set", LOOSE, "--out", page, "--pictures", 3, "--seed", 4)
    assert page.read_text() != text


def test_captions_are_text(tmp_path):
    hostile = [
        "<script>alert(1)</script>",
        "</p>\u202eesrever \x1b[31m",
        "\U0001f408" * 5000,
        'a "b" onerror=x',
    ]
    files = [member for number, text in enumerate(hostile) for member in sample(number, caption=text)]
    write_tar(tmp_path / "pool" / "0.tar", files)
    recipe = computed(write_recipe(tmp_path, keep={"caption.characters": {"max": 1}}))
    page = tmp_path / "page.html"
    done = winnow("compare", recipe, "--set", "keep.caption.characters.max=99999", "--out", page)
    assert done.returncode == 0, done.stderr
    text = page.read_text()
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "\u202e" not in text
    assert "\x1b" not in text
    assert "default-src &#39;none&#39;" in text or "default-src 'none'" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "compare takes two recipes, or one and --set"),
        (("--set", LOOSE, "--out", "page.pdf"), "--out must end in .html, got 'page.pdf'"),
        (("--set", "keep.nothing=null"), "keep has no nothing"),
    ],
)
def test_wrong_words_are_named(recipe, words, message):
    done = winnow("compare", recipe, *words)
    assert done.returncode == 2
    assert message in done.stderr


def test_a_file_that_is_not_a_page_of_winnow_is_left_alone(recipe, tmp_path):
    page = tmp_path / "mine.html"
    page.write_text("<p>mine</p>")
    done = winnow("compare", recipe, "--set", LOOSE, "--out", page)
    assert done.returncode == 2
    assert "was not written by Winnow" in done.stderr
    assert page.read_text() == "<p>mine</p>"


def test_shards_that_are_not_done_are_named(recipe, tmp_path, write_pool):
    write_pool(["one more"], shard="00009")
    done = winnow("compare", recipe, "--set", LOOSE)
    assert done.returncode == 1
    assert "00009: not computed yet" in done.stderr
    assert "12 samples in both pools" in done.stdout
