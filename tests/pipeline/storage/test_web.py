"""Files of web servers, with byte ranges and without, and what is said when a server refuses."""

import io
import logging
from collections.abc import Iterator

import pytest
from fsspec.core import url_to_fs

from pipeline.storage import web
from pipeline.storage.ranges import ByteRanges, identify
from pipeline.storage.retry import FINAL, from_storage
from pipeline.storage.web import WebFile
from tests.corpus.http_servers import (
    Handler,
    chunked,
    hang_up,
    loop,
    no_ranges,
    packed,
    server,
    short,
    status,
    whole,
)

DATA = bytes(range(251)) * 50_000  # 12 MB: more than fsspec asks for at a time
WAYS = {"ranges": Handler.ranged, "ignored": whole, "none": no_ranges, "chunked": chunked, "packed": packed}


@pytest.fixture(scope="module", params=WAYS)
def url(request) -> Iterator[str]:
    """The address of DATA."""
    with server({"odd.bin": DATA}, WAYS[request.param]) as base:
        yield f"{base}/odd.bin"


def opened(url: str) -> WebFile:
    fs, path = url_to_fs(url)
    return WebFile(fs, path)


def test_any_range_in_any_order(url):
    with ByteRanges(url) as file:
        for offset, length in (
            (5, 3),
            (11_000_000, 7),
            (11_000_000, 7),
            (11_000_100, 5),
            (0, 9),
            (4, 8_000_000),
        ):
            assert file.read(offset, length) == DATA[offset : offset + length]
        with pytest.raises(OSError, match="ends before byte"):
            file.read(len(DATA) - 2, 3)


def test_the_content_is_that_of_the_bytes(url, tmp_path):
    (tmp_path / "same").write_bytes(DATA)
    assert identify(url).content == identify(tmp_path / "same").content


def test_it_is_a_file(url):
    with opened(url) as file:
        assert file.readable()
        assert file.seekable()
        file.seek(7)
        file.seek(3, io.SEEK_CUR)
        assert file.tell() == 10
        assert file.read(4) == DATA[10:14]
        assert file.read() == DATA[14:]
        assert file.read(1) == b""
        file.seek(len(DATA) + 5)
        assert file.read(1) == b""


def test_a_slow_way_is_told_once(caplog):
    web._tell_once.cache_clear()
    with server({"odd.bin": DATA}, whole) as base, caplog.at_level(logging.WARNING):
        for _ in range(2):
            with ByteRanges(f"{base}/odd.bin") as file:
                file.read(9, 1)
        assert [record.getMessage() for record in caplog.records if "byte ranges" in record.getMessage()] == [
            f"{base} gives no byte ranges: samples are found by reading a shard from its front, which takes "
            "longer; to avoid it, serve the shards with a server that has ranges, or copy them"
        ]


def test_a_file_that_is_read_forwards_is_not_slow(caplog):
    web._tell_once.cache_clear()
    with server({"odd.bin": DATA}, whole) as base, caplog.at_level(logging.WARNING):
        identify(f"{base}/odd.bin")
    assert not [record for record in caplog.records if "byte ranges" in record.getMessage()]


@pytest.mark.parametrize(
    ("answer", "final", "words"),
    [
        (status(401), True, "the server answers 401 Unauthorized"),
        (status(403), True, "the server answers 403 Forbidden"),
        (status(404), True, "odd.bin"),
        (status(410), True, "odd.bin"),
        (status(429), False, "the server answers 429 Too Many Requests"),
        (status(500), False, "the server answers 500 Internal Server Error"),
        (loop, False, "TooManyRedirects"),
        (hang_up, False, "Server disconnected"),
        (short, False, "not completed"),
    ],
)
def test_troubles_that_may_pass_are_tried_again(answer, final, words):
    with server({"odd.bin": DATA}, answer) as base, pytest.raises(Exception, match=words) as raised:
        identify(f"{base}/odd.bin")
    assert from_storage(raised.value)
    assert isinstance(raised.value, FINAL) == final
