"""The page of a comparison in a real browser: what axe finds, narrow windows."""

import pytest

pytest.importorskip("playwright.sync_api", reason="no playwright: pip install playwright")

from tests.pipeline.view.gallery.test_gallery import recipe as recipe
from tests.support.browser import inaccessible, opened, overflow
from tests.support.command import winnow


@pytest.mark.parametrize(("width", "dark"), [(400, False), (1200, True)])
def test_it_fits_and_axe_finds_nothing_serious(recipe, browser, tmp_path, width, dark):
    out = tmp_path / "difference.html"
    done = winnow("compare", recipe, "--set", "keep.sticker.words.min=1", "--out", out)
    assert done.returncode == 0, done.stderr
    with opened(browser, out, width, dark) as page:
        page.evaluate("document.querySelectorAll('details').forEach(details => { details.open = true; })")
        assert inaccessible(page) == []
        assert overflow(page) == []
        wide = "nodes => nodes.filter(node => node.scrollWidth > node.clientWidth).length"
        assert page.locator(".wide").evaluate_all(wide) == 0
        assert page.locator("summary").first.text_content() == "1 rule has equal bounds"
