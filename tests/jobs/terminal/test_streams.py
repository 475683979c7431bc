"""The streams of the process: readers that go away, full disks, closed streams, widths and encodings."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def run(command: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """A shell's command line with `winnow` in it."""
    winnow = f"{sys.executable} -m jobs"
    return subprocess.run(
        ["bash", "-c", command.replace("winnow", winnow)],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        check=False,
    )


def test_a_reader_that_goes_away_ends_the_command_silently():
    done = run("winnow --version | true; echo ${PIPESTATUS[0]}")
    assert done.stderr == b""
    assert done.stdout in (b"0\n", b"1\n")  # 0 if `true` was slower


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_disks_that_are_full():
    asked = run("winnow operators > /dev/full")
    assert asked.returncode == 1
    assert asked.stderr == (
        b"error: stdout cannot be written (No space left on device); what was computed and exported is complete\n"
    )
    assert run("winnow operators nothing 2> /dev/full").returncode == 2


def test_tables_in_a_pipe_have_no_colours_and_the_width_that_COLUMNS_says():
    plain, narrow = run("winnow operators | cat"), run("winnow operators", COLUMNS="60")
    assert b"\x1b" not in plain.stdout + narrow.stdout
    assert max(map(len, narrow.stdout.decode().splitlines())) == 60
    assert 110 < max(map(len, plain.stdout.decode().splitlines())) <= 120
    done = run("winnow operators clip | head -1; echo ${PIPESTATUS[0]}")
    assert (done.stderr, done.stdout.splitlines()[-1] in (b"0", b"1")) == (b"", True)


def test_a_table_is_shown_in_any_encoding():
    done = run("winnow operators", PYTHONIOENCODING="latin-1")
    assert (done.returncode, done.stderr) == (0, b"")
    done.stdout.decode("latin-1")


@pytest.mark.parametrize("redirect", ["1>&-", "2>&-", "1>&- 2>&-", "<&-"])
def test_streams_that_are_closed(redirect):
    assert run(f"winnow --version {redirect}").returncode == 0


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONOPTIMIZE": "2", "TERM": "dumb", "COLUMNS": "0"},
        {"NO_COLOR": "1", "COLUMNS": "many"},
        {"LANG": "C", "LC_ALL": "C", "PYTHONIOENCODING": "ascii"},
    ],
    ids=str,
)
def test_environments(environment):
    done = run("winnow --help; winnow run '日本 [/b].yaml'; env -u HOME winnow plan x.yaml", **environment)
    assert b"Traceback" not in done.stderr
    assert done.stderr.count(b"no such file") == 2
    assert b"[/b].yaml" in done.stderr
