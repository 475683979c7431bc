"""`winnow explain --show`: a sample as a picture, in a file and in a terminal that can show it."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.command import winnow
from tests.support.decided_pool import sample, uid, write_tar
from tests.support.paths import PLUGINS

ROOT = Path(__file__).parents[2]
DEVICE = re.compile(rb"\x1b\[c")  # what are you?
CELL = re.compile(rb"\x1b\[16t")  # how large is a letter?


@pytest.fixture
def recipe(tmp_path) -> Path:
    """Two samples, one of which cannot be decoded."""
    bad = [("1.jpg", b"\xff\xd8 broken"), ("1.txt", "<b>\u202e \U0001f600\x1b[31m</b>".encode())]
    write_tar(tmp_path / "pool" / "a.tar", [*sample(0, "0", caption=f"this one is {uid(0)}"), *bad])
    path = tmp_path / "r.yaml"
    path.write_text(
        f"pool: {{shards: {tmp_path}/pool, store: {tmp_path}/store}}\nplugins: [{PLUGINS}]\n"
        "compute: {sticker: {use: stickers.Sticker}}\nkeep: {sticker.words: {min: 3}}\n"
    )
    assert winnow("compute", path, "--local").returncode == 0
    return path


def test_a_sample_in_a_file(recipe, tmp_path):
    out = tmp_path / "one.png"
    done = winnow("explain", recipe, uid(0)[:9], "--show", out)
    assert done.returncode == 0, done.stderr
    assert f"picture: {out}\n" in done.stderr
    assert re.search(r"pictures: 1, 1 requests, 0\.0 MB$", done.stderr, re.MULTILINE)
    pixels = np.asarray(Image.open(out).convert("RGB")).astype(int)
    assert np.abs(pixels[20, 22] - (0, 0, 90)).max() < 8  # the picture itself
    assert (pixels[16, 20] == (255, 0, 200)).all()  # the mark on it
    again = tmp_path / "again.png"
    winnow("explain", recipe, uid(0), f"--show={again}")
    assert again.read_bytes() == out.read_bytes()


def test_a_sample_without_a_picture_and_with_a_hostile_caption(recipe, tmp_path):
    out = tmp_path / "one.jpg"
    done = winnow("explain", recipe, "a/1", "--show", out)
    assert done.returncode == 0, done.stderr
    assert np.asarray(Image.open(out)).std() > 5


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["0", "--show", "{}/one.gif"], "error: --show: must end in .jpg, .jpeg, .png, got {}/one.gif"),
        (["0", "1", "--show", "{}/one.png"], "error: --show: {}/one.png holds one sample, and 2 were found"),
        (["0", "--show", "{}/r.png"], "error: --show: {}/r.png exists and was not written by Winnow"),
        (["0", "--show"], "error: --show: this is not a terminal; name a file instead: --show FILE.png"),
        (["--show", "--json", "0"], "error: --show: this is not a terminal"),
    ],
)
def test_what_is_refused(recipe, tmp_path, words, message):
    (tmp_path / "r.png").write_bytes(b"mine")
    done = winnow("explain", recipe, *(word.format(tmp_path) for word in words))
    assert done.returncode == 2
    assert message.format(tmp_path) in done.stderr
    assert (tmp_path / "r.png").read_bytes() == b"mine"


def in_terminal(recipe: Path, answer: bytes, columns: int = 100) -> tuple[int, bytes]:
    """Status and output of `--show` in a terminal that answers so when it is asked what it is."""
    parent, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    code = f"import sys; sys.argv = ['winnow', 'explain', {str(recipe)!r}, '0', '--show']\n"
    command = [sys.executable, "-c", f"{code}from jobs.__main__ import main; main()"]
    place = {"cwd": ROOT, "env": {**os.environ, "PYTHONPATH": str(ROOT)}}
    process = subprocess.Popen(command, stdin=child, stdout=child, stderr=subprocess.STDOUT, **place)
    os.close(child)
    output, asked, until = b"", 0, time.monotonic() + 60
    while time.monotonic() < until:
        if select.select([parent], [], [], 0.1)[0]:
            try:
                output += os.read(parent, 1 << 16)
            except OSError:  # all ends are closed
                break
        if len(DEVICE.findall(output)) > asked:
            asked += 1
            os.write(parent, answer)
        if CELL.search(output) and b"<told>" not in output:
            output += b"<told>"
            os.write(parent, b"\x1b[6;20;10t")
    os.close(parent)
    return process.wait(60), output


def test_a_terminal_with_sixel_shows_the_picture(recipe):
    pytest.importorskip("textual_image", reason="needs textual-image")
    status, output = in_terminal(recipe, b"\x1b[?62;4;22c")
    assert status == 0, output
    assert b"\x1bP" in output  # Sixel begins
    assert b"pictures: 1, 1 requests" in output


def test_a_terminal_without_pictures_is_told_what_to_do(recipe):
    pytest.importorskip("textual_image", reason="needs textual-image")
    status, output = in_terminal(recipe, b"\x1b[?62;22c")
    assert status == 2, output
    assert b"this terminal understands neither Kitty's graphics nor Sixel; name a file instead" in output
    status, output = in_terminal(recipe, b"\x1b[?62;4;22c", columns=0)
    assert status == 2, output
    assert b"this terminal does not tell its size" in output


def test_a_missing_library_is_named(monkeypatch, capsys):
    from jobs.terminal.pictures import check_terminal
    from pipeline.errors import RecipeError

    class Terminal:
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("jobs.terminal.pictures.sys.stdout", Terminal())
    monkeypatch.setattr("jobs.terminal.pictures.sys.stdin", Terminal())
    monkeypatch.setitem(sys.modules, "textual_image", None)
    with pytest.raises(RecipeError, match=r"textual-image is not installed: pip install 'winnow-curation"):
        check_terminal()
