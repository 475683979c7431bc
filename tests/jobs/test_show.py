"""`winnow explain --show`: a sample as a picture, in a file and in a terminal that can show it."""

import base64
import fcntl
import io
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
QUERY = re.compile(rb"\x1b_Gi=(\d+),[^;]*a=q[^;]*;[^\x1b]*\x1b\\")  # have you Kitty's graphics?
CHUNK = re.compile(rb"\x1b_Gi=(\d+),m=([01]),f=100,q=2;([A-Za-z0-9+/=]+)\x1b\\")  # of a PNG
PLACE = re.compile(rb"\x1b_Ga=p,i=(\d+),c=(\d+),r=(\d+),U=1,q=2\x1b\\")  # show it on so many letters
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
    assert re.search(r"pictures: 1, 1 request, 0\.0 MB$", done.stderr, re.MULTILINE)
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


def in_terminal(
    recipe: Path,
    answer: bytes,
    columns: int = 100,
    pixels: tuple[int, int] = (0, 0),
    kitty: bool = False,
    **variables: str,
) -> tuple[int, bytes]:
    """Status and output of `--show` in a terminal that answers so when it is asked what it is; with `kitty`
    also when it is asked whether it has Kitty's graphics. `pixels`: of the screen, if it tells them."""
    parent, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, *pixels))
    code = f"import sys; sys.argv = ['winnow', 'explain', {str(recipe)!r}, '0', '--show']\n"
    command = [sys.executable, "-c", f"{code}from jobs.__main__ import main; main()"]
    place = {"cwd": ROOT, "env": {**os.environ, "PYTHONPATH": str(ROOT), **variables}}
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
        if kitty and (query := QUERY.search(output)) and b"<has graphics>" not in output:
            output += b"<has graphics>"
            os.write(parent, b"\x1b_Gi=" + query[1] + b";OK\x1b\\")
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
    assert b"pictures: 1, 1 request," in output


def test_kitty_shows_the_picture(recipe, tmp_path):
    """Letters of 10 x 20 pixels: the PNG that is sent covers the letters that it is shown on."""
    pytest.importorskip("textual_image", reason="needs textual-image")
    variables = {"TERM": "xterm-kitty", "KITTY_WINDOW_ID": "1", "COLORTERM": "truecolor"}
    status, output = in_terminal(recipe, b"\x1b[?62;c", 100, (1000, 800), kitty=True, **variables)
    assert status == 0, output
    sent = output.partition(b"<has graphics>")[2]
    explanation, start, _ = sent.partition(b"\x1b_G")  # the first of the protocol's escapes
    assert uid(0).encode() in explanation
    assert CHUNK.match(sent, len(explanation)), start
    chunks = CHUNK.findall(sent)
    assert [more for _, more, _ in chunks] == [b"1"] * (len(chunks) - 1) + [b"0"]
    assert {len(data) for _, _, data in chunks[:-1]} <= {4096}
    picture = Image.open(io.BytesIO(base64.b64decode(b"".join(data for _, _, data in chunks))))
    ((placed, across, down),) = PLACE.findall(sent)
    assert {number for number, _, _ in chunks} == {placed}
    assert (picture.format, picture.size) == ("PNG", (int(across) * 10, int(down) * 20))
    assert sent.decode().count("\U0010eeee") == int(across) * int(down)  # Kitty's placeholder
    winnow("explain", recipe, "0", "--show", tmp_path / "one.png")
    whole = Image.open(tmp_path / "one.png").convert("RGB")
    assert picture.size == (-(-whole.width // 10) * 10, -(-whole.height // 20) * 20)
    same = np.asarray(whole.resize(picture.size)).astype(int) - np.asarray(picture.convert("RGB"))
    assert np.abs(same).mean() < 10


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
