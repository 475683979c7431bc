"""`winnow gallery`: which samples, what is written, what is refused."""

import io
import re
from base64 import b64decode
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.decide.explain import RuleVerdict
from pipeline.plan.session import Session
from pipeline.plan.stored import complete
from pipeline.recipe.load import load
from pipeline.view.cards import Cost
from pipeline.view.gallery.labels import fault, figure
from pipeline.view.gallery.sheet import MOST_ROWS, SIDE, WIDTH, most_cells, sheet
from pipeline.view.gallery.write import PER_SHEET, Choice, write_gallery
from tests.support.command import winnow
from tests.support.decided_pool import sample, uid, write_tar
from tests.support.folders import is_states
from tests.support.paths import PLUGINS

HOSTILE = "<script>alert(1)</script> & \"'\u202e\x1b[31m \u0634\u062d\u0646 \U0001f600 " + "long " * 3000


@pytest.fixture
def recipe(tmp_path) -> Path:
    """Seven samples, decided: number 2 has too few words, number 5 cannot be decoded, number 6 is hostile."""
    files = [sample(n, caption=f"the caption number {n}") for n in range(5)]
    files[2] = sample(2, caption="short")
    files += [[("5.jpg", b"\xff\xd8 broken"), ("5.txt", b"a broken picture")], sample(6, caption=HOSTILE)]
    write_tar(tmp_path / "pool" / "a.tar", [file for own in files for file in own])
    path = tmp_path / "r.yaml"
    path.write_text(
        f"name: r\npool: {{shards: {tmp_path}/pool, store: {tmp_path}/store}}\nplugins: [{PLUGINS}]\n"
        "compute: {sticker: {use: stickers.Sticker}, luma: {use: thumbnails.Thumbnail}}\n"
        "keep: {sticker.words: {min: 3}, luma.luma: {max: 1}}\n"
    )
    assert winnow("compute", path, "--local").returncode == 0
    return path


class Page(HTMLParser):
    """The tags, the texts and the pictures of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.sources: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag == "img":
            assert dict(attrs)["alt"]
            self.sources.append(dict(attrs)["src"])

    def handle_data(self, data):
        self.texts.append(data)


def picture_of(source: str) -> np.ndarray:
    """The pixels of a data URI."""
    return np.asarray(Image.open(io.BytesIO(b64decode(source.partition(",")[2]))))


def test_a_page(recipe, tmp_path):
    out = tmp_path / "out.html"
    done = winnow("gallery", recipe, "--out", out, "--sort", "sticker.words", "--descending")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{out}\n"
    assert re.search(r"^pictures: 6, 7 requests, 0\.1 MB$", done.stderr, re.MULTILINE)
    page = Page(out.read_text())
    assert "script" not in page.tags
    assert len(page.sources) == 6
    assert all(source.startswith("data:image/jpeg;base64,") for source in page.sources)
    uids = [text for text in page.texts if re.fullmatch("[0-9a-f]{32}", text)]
    assert uids[0] == uid(6)
    assert uids[-1] == uid(2)
    text = "\n".join(page.texts)
    assert "sticker.words = 4" in text
    assert ": sticker.words 1, not >= 3" in text
    assert "luma.luma: image cannot be decoded: " in text
    assert "<script>alert(1)</script> & \"'\u202e\\x1b[31m \u0634\u062d\u0646 \U0001f600 " in text
    assert text.startswith("\nr: all samples (7 of 7, by sticker.words, descending)") or "(7 of 7" in text
    again = tmp_path / "again.html"
    winnow("gallery", recipe, "--out", again, "--sort", "sticker.words", "--descending")
    assert again.read_bytes() == out.read_bytes()


def test_pictures_as_an_operator_sees_them(recipe, tmp_path):
    out = tmp_path / "out.html"
    done = winnow("gallery", recipe, "--out", out, "--masked", "sticker", "--where", f'uid == "{uid(1)}"')
    assert done.returncode == 0, done.stderr
    before, after = map(picture_of, Page(out.read_text()).sources)
    assert np.abs(before.astype(int) + after - 255).max() < 8


def test_a_sheet(recipe, tmp_path):
    for name, masked in (("a.png", ()), ("b.jpg", ("--masked", "sticker"))):
        done = winnow("gallery", recipe, "--out", tmp_path / name, *masked, "--where", "kept")
        assert done.returncode == 0, done.stderr
        pixels = np.asarray(Image.open(tmp_path / name).convert("RGB"))
        assert pixels.std() > 10
    assert (winnow("gallery", recipe, "--out", tmp_path / "a.png", "--where", "failed")).returncode == 0


def test_a_sheet_is_bounded():
    assert sheet([], [], "empty", False).size[1] < 400
    few = sheet([], [], "a condition of many words " * 20, False).size[1]
    assert few > sheet([], [], "empty", False).size[1]  # the title has all the lines that it needs
    for pairs in (False, True):
        most = most_cells(pairs)
        assert most >= PER_SHEET
        assert (SIDE + 200) * MOST_ROWS < 6200
        assert most * SIDE / MOST_ROWS < WIDTH


def test_a_folder_of_sheets(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.view.gallery.write.PER_SHEET", 3)
    out = tmp_path / "out"
    done = winnow("gallery", recipe, "--out", out)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{out}/index.html\n"
    names = sorted(path.name for path in out.iterdir() if not is_states(path.name))
    assert names == ["_winnow.json", "index.html", "sheet-001.jpg", "sheet-002.jpg", "sheet-003.jpg"]
    page = Page((out / "index.html").read_text())
    assert page.sources == names[2:]
    assert sum(bool(re.fullmatch("[0-9a-f]{32}", text)) for text in page.texts) == 7
    whole = {name: (out / name).read_bytes() for name in names}
    (out / "sheet-002.jpg").write_bytes(b"rotten")
    assert winnow("gallery", recipe, "--out", f"{out}/").returncode == 0
    assert {name: (out / name).read_bytes() for name in names} == whole
    assert winnow("gallery", recipe, "--out", out, "--where", "kept").returncode == 0
    assert not (out / "sheet-003.jpg").exists()


def test_no_sample_matches(recipe, tmp_path):
    for name in ("a.html", "a.jpg", "folder"):
        done = winnow("gallery", recipe, "--out", tmp_path / name, "--where", "sticker.words > 1e9")
        assert done.returncode == 0, done.stderr
    assert "No sample matches." in (tmp_path / "a.html").read_text()
    assert "No sample matches." in (tmp_path / "folder" / "index.html").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--out", "a.gif"], "--out: must end in .html, .htm, .jpg, .jpeg, .png, or be a folder"),
        (
            ["--out", "a.jpg", "--count", "500"],
            "--count: one sheet holds at most 120 pictures, got 500; name a",
        ),
        (
            ["--out", "a.html", "--count", "5000"],
            "--count: one page holds at most 600 samples, got 5,000; name",
        ),
        (["--out", "a.jpg", "--count", "61", "--masked", "sticker"], "at most 60 pairs of pictures, got 61"),
        (["--out", "a.html", "--masked", "luma"], "--masked: luma does not see pictures otherwise than they"),
        (
            ["--out", "a.html", "--where", "dropt"],
            "--where: dropt is not a column of the recipe (did you mean",
        ),
        (
            ["--out", "a.html", "--sort", "lama.luma"],
            "--sort: lama.luma is not a column of the recipe (did you",
        ),
        (
            ["--out", "a.html", "--sort", "luma.vector"],
            "--sort: luma.vector holds Array; name a column of num",
        ),
        (["--out", "mine.html"], "mine.html exists and was not written by Winnow"),
        (["--out", "mine"], "is not empty and was not written by Winnow (it has notes.txt)"),
        (["--out", "pool/"], "--out"),
        (["--out", "store/x.html"], "--out"),
    ],
)
def test_what_is_refused(recipe, tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    (tmp_path / "mine.html").write_text("mine")
    done = winnow("gallery", recipe, *options)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert (tmp_path / "mine.html").read_text() == (tmp_path / "mine" / "notes.txt").read_text() == "mine"
    assert sorted(path.name for path in (tmp_path / "pool").iterdir()) == ["a.tar"]


def test_pictures_that_could_not_be_read_are_tried_again(recipe, tmp_path):
    assert winnow("keep", recipe).returncode == 0
    session = complete(Session.open(load(str(recipe), [])))
    choice, out, shard = (
        Choice([("a", 0), ("a", 1)], "two"),
        str(tmp_path / "out"),
        tmp_path / "pool" / "a.tar",
    )
    shard.rename(tmp_path / "elsewhere")
    cost = Cost()
    write_gallery(session, choice, out, cost)
    assert cost.pictures == 0
    (tmp_path / "elsewhere").rename(shard)
    assert winnow("compute", recipe, "--local").returncode == 0  # the times of the file are others now
    session = complete(Session.open(load(str(recipe), [])))
    for expected in (2, 2):  # the second time there is nothing to do
        write_gallery(session, choice, out, cost)
        assert cost.pictures == expected


@pytest.mark.parametrize(
    ("value", "text"), [(None, "-"), (0.123456, "0.1235"), (-0.0, "0"), (3, "3"), ("a\x1b", "a\\x1b")]
)
def test_figures(value, text):
    assert figure(value) == text


def test_bounds_with_control_characters():
    rule = RuleVerdict("word", "given.word", "fr", "in en, \x1b\0", "fails", None, None)
    assert fault(rule) == "word fr, not in en, \\x1b\\x00"
