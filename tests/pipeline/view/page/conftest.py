"""A page in a real browser."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from pipeline.view.page.render import render
from tests.support.browser import opened


@pytest.fixture
def show(browser: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Opens the page of a report; `show(report, width=400, dark=True)`. At the end of the test, no page may
    have logged an error or asked for anything."""
    with ExitStack() as pages:

        def _show(report: object, **options: Any) -> Any:
            path = tmp_path / f"{len(list(tmp_path.iterdir()))}.html"
            path.write_bytes(render(report))
            return pages.enter_context(opened(browser, path, **options))

        yield _show
