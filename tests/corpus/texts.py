"""Captions and keys."""

from typing import Any

from tests.corpus.kind import Build, Kind, fails, reads
from tests.corpus.pool import OddPool


def caption(data: bytes) -> Build:
    """A sample with this txt member."""

    def build(pool: OddPool) -> None:
        pool.sample({"txt": data})

    return build


def json_caption(value: Any) -> Build:
    """A sample without a txt member, with this caption in its json."""

    def build(pool: OddPool) -> None:
        pool.sample(without=("txt",), caption=value)

    return build


KINDS = [
    Kind("escape sequences", caption(b"\x1b[31mred \x1b]52;c;aGk=\x07 bell"), reads()),
    Kind("markup of a terminal library", caption(b"[red] a [/b] b [link=http://x]"), reads()),
    Kind("bidirectional overrides", caption("a \u202e b".encode()), reads()),
    Kind("NUL", caption(b"a\0b"), reads()),
    Kind("a caption that is a number", json_caption(5), fails("no caption")),
]
