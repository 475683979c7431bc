"""The README tells the truth: its recipe parses, its operator runs, its commands exist."""

import re
import shlex
from pathlib import Path

import pytest
import typer.main
import yaml

from jobs.__main__ import app
from jobs.toy.sample_pool import make_pool
from pipeline.plan.session import Session
from pipeline.recipe.load import parse
from pipeline.run.compute import compute
from pipeline.run.executor import LocalExecutor

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(kind: str) -> list[str]:
    """Fenced blocks of a language."""
    return re.findall(rf"```{kind}\n(.*?)```", README, re.DOTALL)


def test_it_is_short_and_begins_with_the_two_commands() -> None:
    assert len(README.splitlines()) <= 150
    first = "\n".join(README.splitlines()[:20])
    assert "make demo" in first
    assert "make test" in first


def test_the_recipe_parses() -> None:
    recipe = parse(yaml.safe_load(blocks("yaml")[0]))
    assert list(recipe.keep) == ["caption.language", "caption.words", "clip.score"]


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
    compute(session, LocalExecutor())
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


def test_every_operator_is_in_the_table() -> None:
    from pipeline.operator import Stat, Writer

    names = set()
    for path in (ROOT / "operators").glob("[a-z]*.py"):
        module = __import__(f"operators.{path.stem}", fromlist=["_"])
        for name, value in vars(module).items():
            if (
                isinstance(value, type)
                and issubclass(value, Writer | Stat)
                and value.__module__ == module.__name__
            ):
                names.add(f"`{path.stem}.{name}`")
    assert {name for name in names if name not in README} == set()


def test_every_command_is_documented() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    assert [
        name for name in commands if f"winnow {name}" not in README and f"make {name}" not in README
    ] == []
