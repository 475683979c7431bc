"""Fixtures of the operators' tests."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that tests fetch stay out of the machine's cache."""
    monkeypatch.setattr("pipeline.assets.CACHE", f"{tmp_path}/cache")
