"""Files that are read forwards: the bytes, what they are known by afterwards, and changes meanwhile."""

import os
from contextlib import ExitStack
from pathlib import Path

import fsspec
import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import ChangedError
from pipeline.storage.identity import local_state
from pipeline.storage.ranges import ByteRanges, Opened, Stream, Watched, identify, open_source

DATA = bytes(range(256)) * 40
CONTENT = blake3(DATA).hexdigest(length=16)


class Piecewise:
    """A file that gives at most `at_once` bytes at a time."""

    def __init__(self, data: bytes, chunk: int, at_once: int) -> None:
        self.chunk = chunk
        self.rest = data
        self.at_once = at_once
        self.passed = b""

    def readinto(self, buffer: memoryview) -> int:
        part = self.rest[: min(len(buffer), self.at_once)]
        buffer[: len(part)] = part
        self.rest = self.rest[len(part) :]
        self.passed += part
        return len(part)


@settings(max_examples=200)
@given(
    data=st.binary(max_size=200),
    chunk=st.integers(1, 60),
    at_once=st.integers(1, 70),
    reads=st.lists(st.tuples(st.integers(0, 50), st.integers(0, 90)), max_size=12),
)
def test_a_stream_gives_the_bytes_of_the_file(data, chunk, at_once, reads):
    file = Piecewise(data, chunk, at_once)
    stream = Stream(file)
    offset = 0
    given_before = []
    for step, length in reads:
        offset += step
        given_before.append((stream.read(offset, length), data[offset : offset + length]))
    assert all(piece == expected for piece, expected in given_before)  # none was overwritten by a later one
    assert data.startswith(file.passed)  # nothing was left out: each byte counts towards the content


@pytest.fixture
def file(tmp_path) -> Path:
    """A local file with DATA."""
    (tmp_path / "file").write_bytes(DATA)
    return tmp_path / "file"


def test_the_whole_file_is_its_content(file):
    with ExitStack() as stack:
        source = open_source(file, stack)
        assert source.read(100, 3) == DATA[100:103]
        assert source.finish() == (local_state(file.stat()), CONTENT)
    assert identify(file) == identify(f"file://{file}") == (local_state(file.stat()), CONTENT)


def test_the_content_of_a_file_elsewhere():
    fsspec.filesystem("memory").pipe("/ranges/file", DATA)
    seen = identify("memory://ranges/file")
    assert seen.content == CONTENT
    assert seen.state.startswith(f"{len(DATA)} ")


def test_an_empty_file(tmp_path):
    (tmp_path / "file").touch()
    assert identify(tmp_path / "file").content == blake3(b"").hexdigest(length=16)


def shorter(file: Path) -> None:
    os.truncate(file, 100)


def longer(file: Path) -> None:
    with file.open("ab") as out:
        out.write(b"more")


def rewritten(file: Path) -> None:
    file.write_bytes(DATA[::-1])
    os.utime(file, ns=(0, 10**18))


def replaced(file: Path) -> None:
    other = file.with_name("other")
    other.write_bytes(DATA[::-1])
    os.replace(other, file)


def removed(file: Path) -> None:
    file.unlink()


CHANGES = {
    shorter: "size 10240 -> 100 bytes",
    longer: "size 10240 -> 10244 bytes",
    rewritten: "written since, of equal size",
    replaced: "written since, of equal size",
    removed: "it was removed",
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_changes_while_it_is_read(file, change):
    with ExitStack() as stack:
        source = Watched(file, stack)
        source.read(10)
        change(file)
        with pytest.raises(
            ChangedError, match=rf"file changed while .* \({CHANGES[change]}\): it is read again"
        ):
            source.finish()


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_changes_while_ranges_are_read(file, change):
    with ExitStack() as stack:
        stack.enter_context(ByteRanges(file)).read(0, 10)
        change(file)
        with pytest.raises(ChangedError, match=rf"\({CHANGES[change]}\): run the command again"):
            stack.close()


def test_ranges_behind_a_new_end(file):
    ranges = ByteRanges(file).__enter__()
    shorter(file)
    with pytest.raises(ChangedError, match="size 10240 -> 100 bytes"):
        ranges.read(200, 10)
    longer(file)
    with pytest.raises(ChangedError, match="size 10240 -> 104 bytes"):
        ranges.read(200, 10)
    assert ranges.read(0, 3) == DATA[:3]
    file.unlink()
    with pytest.raises(ChangedError, match="it was removed"):
        ranges.read(200, 10)
    with pytest.raises(ChangedError, match="it was removed"):
        ranges.__exit__(None)


def test_ranges_of_a_file_with_another_state_than_expected(file):
    state = local_state(file.stat())
    with ByteRanges(file, state) as ranges:
        assert ranges.read(1, 2) == DATA[1:3]
    longer(file)
    with (
        pytest.raises(
            ChangedError, match=r"since it was listed \(size 10240 -> 10244 bytes\): run the command again"
        ),
        ByteRanges(file, state),
    ):
        pass


def test_an_error_is_not_hidden_by_a_change(file):
    ranges = ByteRanges(file).__enter__()
    removed(file)
    ranges.__exit__(KeyError)


def test_the_state_is_asked_of_the_file_that_was_opened(file):
    with ExitStack() as stack:
        opened = Opened(file, stack)
        removed(file)
        file.write_bytes(b"other")
        assert opened.state.startswith("10240 ")
