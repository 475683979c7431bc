"""`--verbose`: the engine's log on stderr, above the progress display, and nothing of it without the flag."""

import io
import logging
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.progress import Progress

from jobs.terminal import log
from jobs.terminal.console import Console
from tests.pipeline.run.ray.test_log import HOSTILE

ROOT = Path(__file__).parents[3]
RUN = logging.getLogger("winnow.run")


def test_lines_have_time_level_and_message_and_end_with_the_block(capsys):
    with log.log_to_terminal():
        RUN.info("pass begun: %s", "clip")
        RUN.debug("too much")
    RUN.warning("after the block")
    said = capsys.readouterr()
    assert said.out == ""
    assert re.fullmatch(r"\d\d:\d\d:\d\d INFO winnow.run: pass begun: clip\n", said.err)
    assert logging.getLogger("winnow").level == logging.NOTSET


def test_a_long_line_is_not_wrapped_and_markup_is_text(capsys):
    with log.log_to_terminal():
        RUN.warning("[red]%s[/]", "x" * 500)
    assert capsys.readouterr().err.endswith(f"[red]{'x' * 500}[/]\n")


@pytest.mark.parametrize("terminal", [False, True])
def test_a_hostile_name_cannot_write_control_characters(terminal, monkeypatch):
    """On a terminal the only escapes are those of the progress display."""
    screen = Console(file=io.StringIO(), force_terminal=terminal, width=100)
    monkeypatch.setattr(log, "remarks", screen)
    with Progress(console=screen, disable=not terminal) as bars, log.log_to_terminal():
        bars.add_task("clip")
        RUN.warning("shard %s failed", HOSTILE)
    written = screen.file.getvalue()
    assert (
        "shard a\\x1b]0;owned\\x07\\x1b[2J\\r\\nINFO winnow.run: forged\\u202e\\udc80\\x9bé failed\n"
        in written
    )
    assert re.search(r"\x1b\]|\x07|\x1b\[2J|\u202e|\x9b", written) is None
    assert ("\x1b" in written) == terminal


CODE = """
import sys
from pipeline.plan.session import Session
from pipeline.recipe.load import load
from pipeline.run.compute import compute
from pipeline.run.executor import LocalExecutor
from contextlib import nullcontext
from jobs.terminal.log import log_to_terminal
with log_to_terminal() if "verbose" in sys.argv else nullcontext():
    compute(Session.open(load(sys.argv[1])), LocalExecutor(1))
"""


def test_nothing_is_written_without_the_flag(write_pool, tmp_path):
    """A failed shard is a warning, which Python would write by itself if nobody took it."""
    write_pool(["a dog"], shard="0")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"pool: {{shards: '{tmp_path}/pool/{{0..1}}.tar', store: {tmp_path}/store}}\n"
        "compute: {caption: {use: caption.Caption}}\n"
    )
    for flag, expected in (("", []), ("verbose", ["INFO", "WARNING", "INFO"])):
        command = [sys.executable, "-c", CODE, str(recipe), flag]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
        assert [line.split()[1] for line in done.stderr.splitlines()] == expected
        assert done.stdout == ""
