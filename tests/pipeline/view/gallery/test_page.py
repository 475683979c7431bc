"""A gallery in a real browser: what axe finds, hostile texts, narrow windows."""

import pytest

pytest.importorskip("playwright.sync_api", reason="no playwright: pip install playwright")

from tests.pipeline.view.gallery.test_gallery import HOSTILE
from tests.pipeline.view.gallery.test_gallery import recipe as recipe
from tests.support.browser import inaccessible, opened, overflow
from tests.support.command import winnow


@pytest.mark.parametrize(("width", "dark"), [(400, True), (1200, False)])
@pytest.mark.parametrize(
    ("options", "beside"),
    [((), ""), (("--masked", "sticker"), ""), (("--where", "luma.luma > 1000"), ""), ((), "*.jpg")],
    ids=["page", "pairs", "nothing", "folder"],
)
def test_axe_finds_nothing_serious(recipe, browser, tmp_path, monkeypatch, options, beside, dark, width):
    monkeypatch.setattr("pipeline.view.gallery.write.PER_SHEET", 3)
    out = tmp_path / ("gallery" if beside else "gallery.html")
    done = winnow("gallery", recipe, "--out", out, *options)
    assert done.returncode == 0, done.stderr
    with opened(browser, out / "index.html" if beside else out, width, dark, beside) as page:
        page.evaluate("document.querySelectorAll('details').forEach(details => { details.open = true; })")
        assert page.locator("script").count() == 0
        assert inaccessible(page) == []
        assert overflow(page) == []
        if "--where" not in options:
            texts = page.locator(".caption").all_text_contents()
            assert any(text.startswith(HOSTILE.split("\u202e")[0]) for text in texts)
