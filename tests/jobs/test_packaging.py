"""The wheel holds the files beside the modules: recipes, the demo's model, pages, word lists, py.typed."""

import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DATA = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]


@pytest.mark.parametrize("package", ["pipeline", "operators", "jobs"])
def test_every_file_of_a_package_is_in_the_wheel(package: str) -> None:
    folder = ROOT / package
    packed = {path for pattern in DATA[package] for path in folder.glob(pattern)}
    files = {path for path in folder.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")}
    assert files - packed == set()
    assert folder / "py.typed" in packed
