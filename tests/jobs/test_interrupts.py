"""Ctrl-C at any moment: one line, status 130, no traceback."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.interrupts import heed_interrupts
from tests.support.place import Place

AGAIN = "stopped; run the same command again to go on\n"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place(tmp_path)
    place.three()
    return place


@pytest.mark.parametrize("after", [0.0, 0.05, 0.2, 0.5, 0.9])
def test_while_modules_are_imported(place: Place, after: float) -> None:
    """The first moment is that at which the entry point has begun; Python itself starts before it."""
    code = "import sys; print(flush=True); import jobs.__main__; print(flush=True); jobs.__main__.main()"
    words = ["run", place.recipe(), "--local"]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_interrupts,
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.readline()
    time.sleep(after + 0.01)
    process.send_signal(signal.SIGINT)
    said = process.communicate()[1]
    assert "Traceback" not in said
    assert (process.returncode, said[-len(AGAIN) :]) == (130, AGAIN)


def test_an_import_that_hides_it(place: Place, tmp_path: Path) -> None:
    (tmp_path / "hides.py").write_text(
        "import os, signal\n"
        "from pipeline.operator import Score\n"
        "try:\n    os.kill(os.getpid(), signal.SIGINT)\nexcept BaseException:\n    pass\n"
        "class Op(Score):\n    pass\n"
    )
    place.plugins.append(str(tmp_path / "hides.py"))
    place.compute["hides"] = {"use": "hides.Op"}
    words = [sys.executable, "-m", "jobs", "plan", str(place.recipe())]
    done = subprocess.run(words, capture_output=True, text=True, preexec_fn=heed_interrupts)
    assert (done.returncode, done.stderr) == (130, AGAIN)
