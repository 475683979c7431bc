"""The exit status of pools with damaged shards, and with paths that may be shards."""

import json
import os
import random
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from jobs.app import app
from pipeline.errors import RecipeError
from tests.support import command
from tests.support.decided_pool import sample, uid, write_tar
from tests.support.paths import PLUGINS

COMMANDS = ("run", "compute", "keep", "effects", "export")


@pytest.fixture
def recipe(tmp_path) -> Path:
    """A recipe over pool/, with one good tar."""
    (tmp_path / "pool").mkdir()
    write_tar(tmp_path / "pool" / "good.tar", sample(0, caption="two words"))
    (tmp_path / "r.yaml").write_text(
        f"pool: {{shards: {tmp_path}/pool, store: {tmp_path}/store}}\n"
        "compute:\n  caption: {use: caption.Caption}\n"
        "keep:\n  caption.words: {min: 1}\n"
        f"export: {{subset: {tmp_path}/subset.npy}}\n"
    )
    return tmp_path / "r.yaml"


def winnow(command: str, recipe: Path, *options: str) -> Result:
    """Run a command on a recipe, without Ray."""
    local = [] if command == "keep" else ["--local"]
    return CliRunner().invoke(app, [command, str(recipe), *local, *options], catch_exceptions=False)


def statuses(recipe: Path, *options: str) -> list[int]:
    """The exit status of each command."""
    return [winnow(command, recipe, *options).exit_code for command in COMMANDS]


def random_tar(recipe: Path) -> None:
    (recipe.parent / "pool" / "random.tar").write_bytes(random.Random(1).randbytes(5000))


def broken_link(recipe: Path) -> None:
    os.symlink("nowhere", recipe.parent / "pool" / "link.tar")


def fifo(recipe: Path) -> None:
    os.mkfifo(recipe.parent / "pool" / "fifo.tar")


def compressed(recipe: Path) -> None:
    (recipe.parent / "pool" / "1.tar.lzma").write_bytes(b"")


@pytest.mark.parametrize("fault", [random_tar, broken_link, fifo, compressed])
def test_a_faulty_pool_gives_1_unless_that_is_allowed(recipe, fault):
    fault(recipe)
    assert statuses(recipe) == [1] * 5
    assert statuses(recipe, "--allow-damaged") == [0] * 5
    done = winnow("keep", recipe)
    assert "with --allow-damaged: 0" in done.output
    assert ("damaged shard random" in done.output) == (fault is random_tar)
    assert ("passed over 1 x" in done.output) == (fault is not random_tar)


def test_other_files_beside_shards_do_no_harm(recipe):
    for name in ("good_stats.json", "good.parquet", "other_stats.json", "README.md"):
        (recipe.parent / "pool" / name).write_text("{}")
    assert statuses(recipe) == [0] * 5
    found = json.loads(winnow("run", recipe, "--json").stdout)["books"]
    assert found["damaged"] == {}
    assert {reason: paths["count"] for reason, paths in found["passed_over"].items()} == {
        "not a shard": 2,
        "a table beside tars: taken for a description of them": 1,
    }


def test_shards_that_are_not_done_are_not_excused(recipe):
    pool = f"pool.shards={recipe.parent}/pool/{{good,gone}}.tar"
    done = winnow("run", recipe, "--set", pool, "--allow-damaged")
    assert (done.exit_code, "1 shard is not done" in done.output) == (1, True)


def test_names_that_are_not_utf8_are_printed(recipe):
    pool = os.fsencode(recipe.parent / "pool")
    os.rename(pool + b"/good.tar", pool + b"/caf\xe9.tar")
    os.symlink(b"gone", pool + b"/gone\xe9.tar")
    done = winnow("run", recipe, "--json")
    (paths,) = json.loads(done.stdout)["books"]["passed_over"].values()
    assert paths["examples"] == [f"{recipe.parent}/pool/gone\\xe9.tar"]
    assert "gone\\udce9.tar" in winnow("keep", recipe).output


def test_a_subset_file_over_a_shard_or_a_fifo(recipe):
    os.mkfifo(recipe.parent / "fifo.npy")
    assert winnow("compute", recipe).exit_code == 0
    for path, message in (
        ("pool/good.tar", "is a file that pool.shards reads"),
        ("fifo.npy", "is a FIFO, not a file"),
    ):
        with pytest.raises(RecipeError, match=message):
            winnow("keep", recipe, "--subset", f"{recipe.parent}/{path}")
    words = ["subset", "and", "a.npy", "b.npy", "--out", f"{recipe.parent}/fifo.npy"]
    with pytest.raises(RecipeError, match=r"--out: .* is a FIFO, not a file"):
        CliRunner().invoke(app, words, catch_exceptions=False)


def test_a_command_that_ctrl_c_stops_says_what_to_do(recipe, monkeypatch):
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("jobs.steps.run_all", stop)
    done = command.winnow("run", recipe, "--local")
    assert (done.returncode, done.stderr) == (130, "stopped; run the same command again to go on\n")


def test_a_plugin_that_fails_outside_of_its_score(recipe):
    """`warnings` and the like are asked by many commands: one line says which file, and which line of it."""
    recipe.write_text(recipe.read_text() + f"plugins: [{PLUGINS}]\n")
    done = command.winnow("plan", recipe, "--set", "compute.worried={use: faulty.Worried}")
    line = 1 + (PLUGINS / "faulty.py").read_text().splitlines().index('        raise KeyError("nothing")')
    assert done.returncode == 3
    assert done.stderr == f"error: a plugin fails: {PLUGINS}/faulty.py, line {line}: KeyError: 'nothing'\n"


def test_a_plugin_that_returns_nothing_where_something_is_due(recipe):
    recipe.write_text(recipe.read_text() + f"plugins: [{PLUGINS}]\n")
    own = ("--set", "compute.mute={use: faulty.Speechless}")
    done = command.winnow("plan", recipe, *own)
    assert (done.returncode, done.stderr) == (
        3,
        "error: mute: warnings() must return a list of texts, got None\n",
    )
    rule = ("--set", "keep.mute.length={min: 0}")
    assert command.winnow("compute", recipe, *own, "--local").returncode == 0
    done = command.winnow("explain", recipe, uid(0), *own, *rule)
    assert (done.returncode, done.stderr) == (
        3,
        "error: mute: evidence() must return a polars DataFrame, got None\n",
    )
