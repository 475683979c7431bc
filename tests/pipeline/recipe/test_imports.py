"""The user's own modules that a plugin imports, found without running anything."""

import sys
from pathlib import Path

import pytest

from pipeline.recipe.imports import own_imports


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A folder from which Python imports; its modules would fail if they were run."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def write(folder: Path, **files: str) -> None:
    """Modules by their names, with _ for the dots."""
    for name, text in files.items():
        path = folder / f"{name.replace('_', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n1 / 0\n")


def test_what_a_file_imports_and_what_that_imports(folder):
    write(
        folder,
        plugin="import os, numpy\nfrom pipeline.operator import Score\nimport one as first",
        one="def late():\n    from two import name",
        two="import one, three.four",
        three_four="",
        unused="",
    )
    found = own_imports(folder / "plugin.py")
    assert found == {
        "one": folder / "one.py",
        "three.four": folder / "three/four.py",
        "two": folder / "two.py",
    }
    assert not found.keys() & sys.modules.keys()


def test_packages_and_imports_within_them(folder):
    write(
        folder,
        plugin="from pack.sub import leaf",
        pack_sub_leaf="from . import twig\nfrom ..root import x\nfrom ....above import y\nfrom .. import *",
        pack_sub_twig="",
        pack_root="",
    )
    (folder / "pack/__init__.py").write_text("")
    (folder / "pack/sub/__init__.py").write_text("")
    assert list(own_imports(folder / "plugin.py")) == [
        *("pack", "pack.root", "pack.sub", "pack.sub.leaf", "pack.sub.twig")
    ]


def test_folders_without_an_init_inside_a_package(folder):
    """Such a folder finds its modules by the package above it, which was not imported."""
    write(folder, plugin="from pack.bare import leaf\nimport pack.bare.deep.twig", pack_bare_leaf="")
    write(folder, pack_bare_deep_twig="")
    (folder / "pack/__init__.py").write_text("")
    assert own_imports(folder / "plugin.py") == {
        "pack": folder / "pack/__init__.py",
        "pack.bare.deep.twig": folder / "pack/bare/deep/twig.py",
        "pack.bare.leaf": folder / "pack/bare/leaf.py",
    }


def test_installed_packages_do_not_count(folder):
    """pip writes a `.dist-info` beside what it installs."""
    write(folder, plugin="import other", other="")
    (folder / "other-1.0.dist-info").mkdir()
    assert own_imports(folder / "plugin.py") == {}


@pytest.mark.parametrize(
    "text", ["import (", "\0", "import nowhere.at.all", "from . import x", "from .. import y"]
)
def test_what_cannot_be_parsed_or_found_is_left_to_python(folder, text):
    (folder / "plugin.py").write_text(text)
    assert own_imports(folder / "plugin.py") == {}
