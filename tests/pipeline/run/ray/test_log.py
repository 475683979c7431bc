"""Log lines of worker processes: one printable line per record, on stderr, whatever strangers put into it."""

import logging
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import printable
from pipeline.run.ray.log import LineFormatter

ROOT = Path(__file__).parents[4]
HOSTILE = "a\x1b]0;owned\x07\x1b[2J\r\nINFO winnow.run: forged\u202e\udc80\x9bé"


def line(message: str) -> str:
    record = logging.LogRecord(
        "winnow.run", logging.WARNING, __file__, 1, "shard %s failed", (message,), None
    )
    return LineFormatter().format(record)


def test_unprintable_characters_are_escaped():
    assert line(HOSTILE).split(" ", 1)[1] == (
        "WARNING winnow.run: shard a\\x1b]0;owned\\x07\\x1b[2J\\r\\nINFO winnow.run: forged"
        "\\u202e\\udc80\\x9bé failed"
    )


@given(st.text(st.characters()))
def test_a_line_is_one_printable_line(text):
    assert printable(text).isprintable()
    assert line(text).isprintable()
    line(text).encode()


CODE = """
import logging
import pipeline
from pipeline.run.ray.log import log_in_worker
log = logging.getLogger("winnow.run")
log.warning("before")
log_in_worker()
log_in_worker()
log.info("after")
"""


@pytest.mark.parametrize("setup", ["", "logging.getLogger('winnow').setLevel(logging.ERROR)"])
def test_a_worker_writes_to_stderr_once_and_other_processes_do_not(setup):
    code = CODE.replace("log = ", f"{setup}\nlog = ")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == ""
    (written,) = done.stderr.splitlines()
    assert written.endswith(" INFO winnow.run: after")
