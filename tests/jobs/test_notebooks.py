"""The notebooks run from top to bottom, in a process of their own, and what they show can be shown."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "jobs" / "notebooks").glob("*.ipynb"))
SHOW = """
def _show(value):
    if value is None:
        return
    html = getattr(value, "_repr_html_", lambda: None)()
    print(f"<<shown>>{type(value).__name__} {len(html) if html else 0} {repr(value)[:2000]}", flush=True)
"""


def cells(notebook: Path) -> list[str]:
    """The code of a notebook, cell by cell."""
    content = json.loads(notebook.read_text())
    return ["".join(cell["source"]) for cell in content["cells"] if cell["cell_type"] == "code"]


def script(notebook: Path) -> str:
    """The code of a notebook as a script: the value of a cell's last line is shown, as Jupyter does."""
    parts = [SHOW]
    for cell in cells(notebook):
        tree = ast.parse(cell)
        if isinstance(last := tree.body[-1], ast.Expr):
            tree.body[-1] = ast.parse(f"_show({ast.unparse(last.value)})").body[0]
        parts.append(ast.unparse(tree))
    return "\n".join(parts)


def test_there_is_one() -> None:
    assert [path.name for path in NOTEBOOKS] == ["look_closer.ipynb"]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_has_no_outputs_no_magics_and_lines_that_fit(notebook: Path) -> None:
    content = json.loads(notebook.read_text())
    code = [cell for cell in content["cells"] if cell["cell_type"] == "code"]
    assert [cell["outputs"] for cell in code] == [[]] * len(code)
    assert {cell["execution_count"] for cell in code} == {None}
    assert not re.search(r"^\s*[%!]", "\n".join(cells(notebook)), re.MULTILINE)
    lines = [line for cell in content["cells"] for line in "".join(cell["source"]).splitlines()]
    assert [line for line in lines if len(line) > 110] == []
    assert re.findall(r"/(?:home|tmp|work|root|Users)/", notebook.read_text()) == []


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs_from_top_to_bottom(notebook: Path, tmp_path: Path) -> None:
    environment = {
        "PYTHONPATH": str(ROOT),
        "TMPDIR": str(tmp_path),
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, "-c", script(notebook)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    shown = [text.split(" ", 2) for text in done.stdout.split("<<shown>>")[1:]]
    assert {kind: int(length) > 0 for kind, length, _ in shown if kind in ("Pool", "Cards")} == {
        "Pool": True,
        "Cards": True,
    }
    assert [kind for kind, _, _ in shown].count("Cards") == 4
    assert "recipe, 2 of 2 shards: " in done.stdout
    assert "stopped by clip.score" not in done.stderr
    assert re.search(r"clip\.score -?\d.*fails", done.stdout)
    assert list(tmp_path.glob("look_closer_*")) == []
