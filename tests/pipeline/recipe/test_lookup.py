"""From an import path to an operator; nothing but operators, and nothing but where they may come from."""

import sys
from typing import Any

import pytest

from operators.caption import Caption
from operators.clip import ClipScore
from pipeline.errors import RecipeError
from pipeline.operator import Score
from pipeline.recipe.lookup import build, find

LENGTH = "from pipeline.operator import Score\nclass Length(Score):\n    times: int = {}\n"


def test_builds_an_operator():
    entry = build("c", {"use": "clip.ClipScore", "model": "ViT-B-32", "pretrained": "openai"}, [])
    assert isinstance(entry.operator, ClipScore)
    assert (entry.use, entry.source, entry.operator.model) == ("clip.ClipScore", None, "ViT-B-32")
    assert find("caption.Caption", "k", []) == (Caption, None)


def test_a_plugin_is_a_file_or_a_folder(tmp_path):
    (tmp_path / "mine.py").write_text(LENGTH.format(1))
    by_file, source = find("mine.Length", "k", [str(tmp_path / "mine.py")])
    assert find("mine.Length", "k", [str(tmp_path)]) == (by_file, source)
    assert issubclass(by_file, Score)
    assert len(source) == 16
    with pytest.raises(RecipeError, match="no module mine under operators or plugins"):
        find("mine.Length", "k", [])


def test_a_plugin_goes_before_operators_and_does_not_replace_them(tmp_path):
    (tmp_path / "caption.py").write_text(LENGTH.format(1))
    assert find("caption.Length", "k", [str(tmp_path)])[0].__name__ == "Length"
    assert find("caption.Caption", "k", [])[0] is Caption
    assert sys.modules["operators.caption"].Caption is Caption


def test_an_edited_plugin_is_read_again(tmp_path):
    file = tmp_path / "mine.py"
    found: list[tuple[Any, Any]] = []
    for default in (1, 2):
        file.write_text(LENGTH.format(default))
        found.append(find("mine.Length", "k", [str(file)]))
    assert [cls().times for cls, _ in found] == [1, 2]
    assert found[0][1] != found[1][1]


def test_the_key_of_a_plugin_covers_the_modules_that_it_imports(tmp_path, monkeypatch):
    """A helper that is edited makes other results. In a process that goes on, it is imported anew."""
    (tmp_path / "package").mkdir()
    (tmp_path / "mine.py").write_text(LENGTH.format(1) + "from package.inner import times\ntimes = times()\n")
    (tmp_path / "package/inner.py").write_text("from package import deep\ndef times(): return deep.TIMES\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    found: list[tuple[Any, Any]] = []
    for times in (1, 2):
        (tmp_path / "package/deep.py").write_text(f"TIMES = {times}\n# {'-' * times}")
        found.append(find("mine.Length", "k", [str(tmp_path / "mine.py")]))
    assert [sys.modules[cls.__module__].times for cls, _ in found] == [1, 2]
    assert found[0][1] != found[1][1]
    assert find("mine.Length", "k", [str(tmp_path / "mine.py")]) == found[1]


def test_a_plugin_that_fails_is_tried_again_once_mended(tmp_path):
    file = tmp_path / "mended.py"
    file.write_text("1 / 0")
    before = set(sys.modules)
    with pytest.raises(RecipeError, match="ZeroDivisionError"):
        find("mended.Length", "k", [str(file)])
    assert set(sys.modules) == before
    file.write_text(LENGTH.format(1))
    assert find("mended.Length", "k", [str(file)])[0].__name__ == "Length"


@pytest.mark.parametrize(
    "use",
    [
        "os.system", "../x", "..x.Y", "clip", "clip.", ".clip.ClipScore", "clip.ClipScore()", "clip.np.array",
        "clip.ClipModel", "clip.ImageScore", "clip.Path", "clip._split", "clip.CHUNK", "clip.__doc__",
        "clip ClipScore",
        "pipeline.operator.Score", "operators.clip.ClipScore", "builtins.eval", "__init__.X",
        "clip.x.Y", "", "clip.é",
    ],
)  # fmt: skip
def test_only_operators_defined_there(use):
    with pytest.raises(RecipeError, match=r"^compute\.a\.use"):
        find(use, "compute.a.use", [])


def test_bases_themselves_are_no_operators(tmp_path):
    (tmp_path / "bare.py").write_text("from pipeline.operator import Operator\nclass Bare(Operator): pass\n")
    with pytest.raises(RecipeError, match=r"^k: bare\.Bare must be a Score, ImageScore, Stat or Group$"):
        find("bare.Bare", "k", [str(tmp_path)])
