"""A real browser, for the tests of pages: Chromium without a window, driven by Playwright.

    from tests.support.browser import browser, opened  # `browser` is a fixture

    def test_a_page(browser, tmp_path):
        with opened(browser, tmp_path / "page.html", width=400) as page:
            assert page.title() == "..."

The environment variable CHROMIUM names another one than Debian's. Tests skip if there is none.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = "/usr/bin/chromium"  # Debian's
SERIOUS = ("serious", "critical")  # what axe finds is minor, moderate, serious or critical


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A browser for all tests of the session."""
    program = os.environ.get("CHROMIUM", CHROMIUM)
    if not Path(program).exists():
        pytest.skip(f"no browser: {program} is missing; apt install chromium, or set CHROMIUM")
    api = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install playwright")
    with api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@contextmanager
def opened(
    browser: Any, path: Path, width: int = 1200, dark: bool = False, beside: str = ""
) -> Iterator[Any]:
    """A file in the browser. Fails if the page logs an error, asks for anything but itself and files `beside`
    it (a glob), or opens a dialog of the browser, as `alert` does."""
    context = browser.new_context(
        viewport={"width": width, "height": 900},
        color_scheme="dark" if dark else "light",
        permissions=["clipboard-read", "clipboard-write"],
    )
    page, faults = context.new_page(), []
    page.on("console", lambda message: faults.append(message.text))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("dialog", lambda dialog: (faults.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda request: faults.extend(_outside(request.url, path, beside)))
    page.goto(path.as_uri())
    try:
        yield page
        assert faults == [], faults
    finally:
        context.close()


def _outside(url: str, path: Path, beside: str) -> list[str]:
    """The address of a request, if it is for anything but the page, what is in it, and files beside it."""
    allowed = [path, *(path.parent.glob(beside) if beside else ())]
    inside = url.split("#")[0] in [one.as_uri() for one in allowed] or url.startswith("data:")
    return [] if inside else [url]


def overflow(page: Any) -> list[str]:
    """The elements that make the page wider than its window."""
    return page.evaluate(
        """() => {
          const wide = document.documentElement.clientWidth;
          if (document.documentElement.scrollWidth <= wide) return [];
          return [...document.querySelectorAll("body *")]
            .filter((node) => node.getBoundingClientRect().right > wide + 1 && !node.closest(".scroll, nav ul"))
            .map((node) => `${node.tagName}.${node.className}`);
        }"""
    )


def inaccessible(page: Any) -> list[str]:
    """What axe finds on the page that is serious or critical: rule, elements."""
    import axe_core_python

    page.evaluate((Path(axe_core_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8"))
    found = page.evaluate("() => axe.run()")["violations"]
    return [
        f"{one['id']}: {[node['html'][:120] for node in one['nodes'][:4]]}"
        for one in found
        if one["impact"] in SERIOUS
    ]
