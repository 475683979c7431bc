"""From shards to the page: what `winnow report` writes is opened, cuts are dragged, and `winnow keep` with
the options that the page shows gives the page's numbers."""

import json
import shlex

import pytest

from jobs import steps
from pipeline.run.compute import compute
from pipeline.run.executor import LocalExecutor
from tests.support.browser import opened, overflow
from tests.support.command import winnow
from tests.support.samples import picture

CAPTIONS = [
    "a dog",
    "<script>alert(1)</script> and <b>bold</b>",
    "شجرة خضراء beside a red car",
    "👩‍👩‍👧‍👦 a family on the beach",
    "x" * 3_000,
    "one two three four five six seven",
    "click to enlarge",
    "a cat on a mat",
    "",
    None,
]


@pytest.fixture
def recipe(write_pool, tmp_path):
    """A recipe over forty samples, whose columns are computed."""
    sizes = [(24, 16), (64, 60), (90, 20), (40, 40), (128, 96)]
    images = [picture(seed, *sizes[seed % 5]) for seed in range(40)]
    images[7] = b"\xff\xd8 not a picture"
    write_pool([CAPTIONS[row % 10] for row in range(40)], images)
    path = tmp_path / "recipe.yaml"
    path.write_text(
        f"name: whole\npool: {{shards: {tmp_path}/pool, store: {tmp_path}/store}}\n"
        "compute: {caption: {use: caption.Caption}}\n"
        "keep:\n  caption.words: {min: 3}\n  caption.side: {top: 0.7}\n"
        "  caption.aspect: {max: 2}\n  long: {column: caption.characters, bottom: 0.9}\n"
    )
    compute(steps.open_session(str(path), [], None), LocalExecutor())
    return path


@pytest.fixture
def page(recipe, browser, tmp_path):
    done = winnow("report", recipe, "--out", tmp_path / "report.html")
    assert done.returncode == 0, done.stderr
    with opened(browser, tmp_path / "report.html") as page:
        yield page


def kept(recipe, line: str) -> int:
    """How many samples `winnow keep` keeps with the options of the page."""
    return json.loads(winnow("keep", recipe, *shlex.split(line), "--json").stdout)["kept"]


@pytest.mark.parametrize("rule", ["caption.words", "caption.side", "caption.aspect", "long"])
def test_a_cut_that_is_dragged_keeps_what_the_command_keeps(page, recipe, rule):
    chart = page.locator(f"article:has(dl[data-rule='{rule}']) .draggable")
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    page.mouse.move(box["x"] + 20, box["y"] + 40)
    page.mouse.down()
    compared = 0
    for part in (0.1, 0.4, 0.8):
        page.mouse.move(box["x"] + part * box["width"], box["y"] + 40, steps=3)
        if page.locator("#whatif").is_visible():
            told = page.locator("#whatif-kept").text_content()
            assert int(told.replace(",", "")) == kept(recipe, page.locator("#whatif code").text_content())
            compared += 1
    page.mouse.up()
    assert compared


def test_several_cuts_keep_what_the_command_keeps(page, recipe):
    for rule, key in (("caption.words", "ArrowLeft"), ("caption.side", "ArrowRight"), ("long", "ArrowLeft")):
        page.locator(f"input[data-rule='{rule}']").press(key)
    line = page.locator("#whatif code").text_content()
    assert line.count("--set") == 3
    assert int(page.locator("#whatif-kept").text_content()) == kept(recipe, line)


def test_pictures_of_the_pool_are_shown(page):
    page.locator("#rule-0 .open").first.click()
    image = page.locator("dialog .frame img").first
    image.wait_for()
    assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    assert page.locator("dialog tbody tr").count() >= 4  # a verdict of each rule


def test_the_page_fits_a_narrow_window(page):
    page.set_viewport_size({"width": 400, "height": 800})
    assert overflow(page) == []
