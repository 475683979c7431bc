"""The README tells the truth: its recipes and its operator run, its commands exist; pages fit and link."""

import re
import shlex
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import typer.main
import yaml
from typer.testing import CliRunner

from jobs.app import app
from jobs.toy.sample_pool import make_pool
from pipeline.plan.session import Session
from pipeline.recipe.load import parse
from pipeline.run.compute import compute
from pipeline.run.executor import LocalExecutor

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAGES = [path for path in sorted(ROOT.rglob("*.md")) if ".venv" not in path.parts]


def blocks(kind: str) -> list[str]:
    """Fenced blocks of a language."""
    return re.findall(rf"```{kind}\n(.*?)```", README, re.DOTALL)


def test_it_begins_with_the_two_commands() -> None:
    first = "\n".join(README.splitlines()[:20])
    assert "make demo" in first
    assert "make test" in first


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_lines_fit_and_links_lead_somewhere(page: Path) -> None:
    text = page.read_text()
    printed = "    " if page.name == "RESULTS.md" else "\0"  # what a benchmark printed stays as it is
    assert [line for line in text.splitlines() if len(line) > 110 and not line.startswith(printed)] == []
    targets = re.findall(r"\]\(([^)#:]+)\)|^\[\w+\]: (\S+)$", text, re.MULTILINE)
    assert [t for pair in targets for t in pair if t and not (page.parent / t).exists()] == []


def test_the_first_recipe_runs_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In an empty folder with some shards and nothing else: no download, no GPU."""
    monkeypatch.chdir(tmp_path)
    make_pool(tmp_path / "my_shards", shards=2, per_shard=40, seed=2, image_size=96)
    (tmp_path / "first.yaml").write_text(blocks("yaml")[0])
    result = CliRunner().invoke(app, ["run", "first.yaml", "--local"])
    assert result.exit_code == 0, result.output
    made = [path for path in (tmp_path / "filtered").iterdir() if path.suffix == ".tar"]
    assert len(made) == 1
    table = pl.read_parquet(tmp_path / "filtered" / "00000000.parquet")
    assert 10 < len(table) < 80
    named = re.search(
        r"one row per sample in the same order: (.*?), and every score", " ".join(README.split())
    )
    assert named
    assert table.columns[: table.columns.index("caption.characters")] == re.findall(r"`(\w+)`", named[1])
    in_a_notebook: dict[str, Any] = {}
    exec(next(block for block in blocks("python") if "open_recipe" in block), in_a_notebook)
    assert in_a_notebook["pool"].decision.kept == len(table)


def test_the_second_recipe_adds_to_the_first() -> None:
    first, second = (yaml.safe_load(block) for block in blocks("yaml")[:2])
    parts = {key: {**first.get(key, {}), **second.get(key, {})} for key in {*first, *second}}
    assert list(parse(parts).keep)[-1] == "clip.score"


def test_the_operator_of_thirty_lines_works(tmp_path: Path) -> None:
    code = next(block for block in blocks("python") if "class Colourfulness" in block)
    assert len(code.splitlines()) <= 30
    (tmp_path / "scratch").mkdir()
    (tmp_path / "scratch" / "colour.py").write_text(code)
    make_pool(tmp_path / "pool", shards=1, per_shard=40, seed=2, image_size=64)
    data = yaml.safe_load(next(block for block in blocks("yaml") if "plugins:" in block))
    data["plugins"] = [str(tmp_path / "scratch")]
    data["pool"] = {"shards": f"{tmp_path}/pool/*.tar", "store": f"{tmp_path}/store"}
    session = Session.open(parse(data))
    session = compute(session, LocalExecutor()).session
    part = session.store.read(f"{session.folder('colour')}/00000.parquet")
    assert part["colour.score"].drop_nulls().max() > 20
    reasons = part.filter(part["colour.score"].is_null())["colour.error"]
    assert reasons.null_count() == 0


def command_lines() -> list[str]:
    lines = [line.split("  #")[0].strip() for block in blocks("sh") for line in block.splitlines()]
    return [line for line in lines if line.startswith(("winnow ", "ray job", "make "))]


@pytest.mark.parametrize("line", command_lines())
def test_commands_exist(line: str) -> None:
    """winnow commands parse with their flags; make targets are in the Makefile."""
    words = shlex.split(line)
    if words[0] == "make":
        assert f"\n{words[1]}:" in (ROOT / "Makefile").read_text()
        return
    words = words[words.index("jobs") + 1 :] if words[0] == "ray" else words[1:]
    command = typer.main.get_command(app).commands[words[0]]  # type: ignore[attr-defined]
    command.make_context(words[0], words[1:])


def test_every_command_is_documented() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    assert [
        name for name in commands if f"winnow {name}" not in README and f"make {name}" not in README
    ] == []
