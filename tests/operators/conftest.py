"""Fixtures of the operators' tests."""

from pathlib import Path

import pytest

from operators.text import TextBoxes
from pipeline.operator import Device


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that tests fetch stay out of the machine's cache."""
    monkeypatch.setattr("pipeline.assets.CACHE", f"{tmp_path}/cache")


@pytest.fixture(scope="module")
def text() -> TextBoxes:
    made = TextBoxes()
    made.setup({}, Device())
    return made
