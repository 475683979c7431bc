"""Recipes, plugins and stores that cannot be opened."""

# ruff: noqa: E501 (a table of broken recipes: one a line)

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import RecipeError
from pipeline.plan.session import Session
from pipeline.recipe.load import load
from tests.pipeline.recipe.recipe_texts import BROKEN, POOL

# --- files -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("absent.yaml", "recipe absent.yaml: no such file"),
        (".", "recipe .: cannot be read"),
        ("foo://a.yaml", "recipe foo://a.yaml: cannot be read: Protocol not known: foo"),
        ("latin.yaml", "recipe latin.yaml: cannot be read"),
    ],
)
def test_recipe_files_that_cannot_be_read(path, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"name: caf\xe9")
    with pytest.raises(RecipeError, match="^" + expected.replace(".", r"\.")):
        load(path)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("x = 1\n\n1 / 0", "line 3: ZeroDivisionError: division by zero"),
        ("x = 1\ndef f(:", "line 2: SyntaxError: invalid syntax"),
        ("\0", "SyntaxError: source code string cannot contain null bytes"),
        ("x = '\udcff'", "line 1: SyntaxError: (unicode error)"),
        (
            "import no_such_module_at_all",
            "line 1: ModuleNotFoundError: No module named 'no_such_module_at_all'",
        ),
        ("raise ValueError('two\\nlines')", "line 1: ValueError: two lines"),
        ("def leave():\n    raise SystemExit(3)\n\nleave()", "line 2: it ends the process (exit)"),
        ("import sys\nsys.exit()", "line 2: it ends the process (exit)"),
        ("def f():\n    f()\nf()", "line 2: RecursionError"),
    ],
)
def test_plugin_that_fails_on_import(source, expected, recipe, tmp_path):
    (tmp_path / "broken.py").write_text(source, errors="surrogateescape")
    with pytest.raises(RecipeError) as raised:
        recipe(POOL + f"plugins: [{tmp_path}/broken.py]\ncompute: {{a: {{use: broken.X}}}}")
    message = str(raised.value)
    assert f"plugins: {tmp_path}/broken.py fails on import: {expected}" in message
    assert "\n" not in message


def test_pool_errors_name_their_key_once(recipe, tmp_path):
    for shards, expected in (
        ("''", "no *.tar matches"),
        ("[]", "is empty"),
        (f"{tmp_path}/none*.tar", "no *.tar matches"),
    ):
        with pytest.raises(RecipeError) as raised:
            Session.open(recipe(f"pool: {{shards: {shards}, store: s}}"))
        assert str(raised.value).startswith("pool.shards")
        assert str(raised.value).count("pool.shards") == 1
        assert expected in str(raised.value)


def test_a_store_on_a_file_system_that_is_not_installed_is_a_recipe_error(recipe, monkeypatch):
    def absent(protocol):
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr("pipeline.recipe.load.fsspec.get_filesystem_class", absent)
    with pytest.raises(
        RecipeError, match=r"^pool\.store: s3://b/s is not on a known file system: Install s3fs"
    ):
        recipe("pool: {shards: a.tar, store: 's3://b/s'}")


# --- through the command line ----------------------------------------------------------------------


@pytest.mark.parametrize("case", ["percent", "python tag", "unknown module"])
def test_the_command_line_says_it_in_one_line(case, tmp_path, planted):
    text, expected = BROKEN[case]
    (tmp_path / "r.yaml").write_text(text.replace("PLUGIN", planted))
    command = [sys.executable, "-m", "jobs", "plan", str(tmp_path / "r.yaml")]
    done = subprocess.run(command, cwd=Path(__file__).parents[3], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr
    assert all(part in done.stderr for part in expected)
