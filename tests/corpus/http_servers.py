"""Pools on web servers, which answer for one of their shards in odd ways."""

import gzip
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.corpus.kind import Build, Kind, Outcome, damaged, reads, refused, unread
from tests.corpus.pool import OddPool, members, pack, sound
from tests.support.web_server import answering

ODD = range(90, 94)  # numbers of the samples in the odd shard
Answer = Callable[["Handler", bytes], None]


class Handler(BaseHTTPRequestHandler):
    """Serves shards by name, with byte ranges; `answer` is given the odd one."""

    protocol_version = "HTTP/1.1"
    shards: Mapping[str, bytes]
    answer: Answer
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(f"{self.command} {self.path}")
        data = self.shards.get(self.path.lstrip("/").removesuffix("?there"))
        try:
            if data is None:
                self.send(b"", 404)
            elif "odd" in self.path:
                type(self).answer(self, data)
            else:
                self.ranged(data)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    do_HEAD = do_GET

    def ranged(self, data: bytes) -> None:
        """The bytes that are asked for."""
        asked = self.headers.get("Range")
        if asked is None:
            self.send(data)
            return
        first, last = asked.removeprefix("bytes=").split("-")
        part = data[int(first) : int(last or len(data)) + 1]
        end = int(first) + len(part) - 1
        self.send(part, 206, Content_Range=f"bytes {first}-{end}/{len(data)}")

    def send(self, body: bytes, status: int = 200, length: int | None = None, **headers: str) -> None:
        """An answer; `length` is what its header says, if it is not the body's."""
        self.begin(len(body) if length is None else length, status, **headers)
        if self.command == "GET":
            self.wfile.write(body)

    def begin(self, length: int | None, status: int = 200, **headers: str) -> None:
        """The head of an answer."""
        self.send_response(status)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.close_connection = True  # else what is said too much would be taken for the next answer
        for name, value in ({"Connection": "close", "ETag": '"1"'} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Be quiet."""


class Server(ThreadingHTTPServer):
    """Does not wait for connections that are open, and does not tell of those that are reset."""

    daemon_threads = True
    block_on_close = False

    def handle_error(self, *_: object) -> None:
        """Be quiet."""


@contextmanager
def server(files: Mapping[str, bytes], answer: Answer) -> Iterator[str]:
    """The address of a server with these files."""
    kind = type("Served", (Handler,), {"shards": files, "answer": answer, "asked": []})
    with answering(Server(("127.0.0.1", 0), kind)) as address:
        yield address


@contextmanager
def serving(pool: OddPool, answer: Answer, pattern: str) -> Iterator[Mapping[str, str]]:
    """Serve the pool's files, and let the recipe name them."""
    with server({path.name: path.read_bytes() for path in pool.pool.iterdir()}, answer) as base:
        pool.pool_keys = {"shards": f"{base}/{pattern}"}
        yield {}


def served(answer: Answer, pattern: str = "{sound,odd}.tar", noise: int = 0) -> Build:
    """A pool of two shards on a server, of which the odd one has four samples. `noise`: bytes that each of
    these has besides."""

    def build(pool: OddPool) -> None:
        more = {"bin": bytes(noise)} if noise else {}
        pool.write("odd.tar", pack(members({f"odd{n}": sound(n) | more for n in ODD})))
        pool.serve = partial(serving, pool, answer, pattern)

    return build


def status(number: int, get_only: bool = False, **headers: str) -> Answer:
    """Always this status."""

    def answer(handler: Handler, data: bytes) -> None:
        if get_only and handler.command == "HEAD":
            handler.send(data)
        else:
            handler.send(b"no", number, **headers)

    return answer


def whole(handler: Handler, data: bytes) -> None:
    """Ranges are ignored."""
    handler.send(data)


def no_ranges(handler: Handler, data: bytes) -> None:
    """Ranges are ignored, and the server says so."""
    handler.send(data, Accept_Ranges="none")


def chunked(handler: Handler, data: bytes) -> None:
    """The length is not told."""
    handler.begin(None, Transfer_Encoding="chunked")
    if handler.command == "GET":
        for start in range(0, len(data), 5000):
            part = data[start : start + 5000]
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
        handler.wfile.write(b"0\r\n\r\n")


def packed(handler: Handler, data: bytes) -> None:
    """The body is packed on the way."""
    handler.send(gzip.compress(data, mtime=0), Content_Encoding="gzip")


def garbled(handler: Handler, data: bytes) -> None:
    """The body is said to be packed, and is not."""
    handler.send(data, Content_Encoding="gzip")


def typed(handler: Handler, data: bytes) -> None:
    """The type is a page's."""
    handler.send(data, Content_Type="text/html; charset=utf-8")


def page(handler: Handler, data: bytes) -> None:
    """A page with status 200, as log-ins and mirrors give it."""
    handler.send(b"<!doctype html><title>Log in</title>" * 40, Content_Type="text/html")


def short(handler: Handler, data: bytes) -> None:
    """The body ends before the length that was announced."""
    handler.send(data[:9000], length=len(data))


def halves(handler: Handler, data: bytes) -> None:
    """Half of the file, and the length of that."""
    handler.send(data[: len(data) // 2 + 100])


def head_lies(handler: Handler, data: bytes) -> None:
    """HEAD tells a smaller file than there is."""
    handler.send(data, length=2048) if handler.command == "HEAD" else handler.ranged(data)


def get_alone(handler: Handler, data: bytes) -> None:
    """HEAD is not allowed."""
    handler.send(b"", 405) if handler.command == "HEAD" else handler.ranged(data)


def drip(handler: Handler, data: bytes) -> None:
    """A little at a time."""
    handler.begin(len(data))
    if handler.command == "GET":
        for start in range(0, len(data), 1 + len(data) // 20):
            handler.wfile.write(data[start : start + 1 + len(data) // 20])
            time.sleep(0.02)


def hang_up(handler: Handler, data: bytes) -> None:
    """The connection is closed without an answer."""
    handler.close_connection = True


def loop(handler: Handler, data: bytes) -> None:
    """A redirect to itself."""
    handler.send(b"", 302, Location=handler.path)


def moved(handler: Handler, data: bytes) -> None:
    """A redirect to where the file is."""
    if handler.path.endswith("?there"):
        handler.ranged(data)
    else:
        handler.send(b"", 302, Location=handler.path + "?there")


def heals(number: int, times: int) -> Answer:
    """This status for the first requests of the file, then the file."""

    def answer(handler: Handler, data: bytes) -> None:
        asked = sum("odd" in line for line in handler.asked)
        handler.send(b"", number) if asked <= times else handler.ranged(data)

    return answer


TOLD = ("gives no byte ranges: samples are found by reading a shard from its front",)
KINDS = [
    Kind("byte ranges", served(Handler.ranged), reads(4)),
    Kind("ranges are ignored", served(whole), reads(4, *TOLD)),
    Kind("ranges are ignored, of 12 MB", served(whole, noise=3_000_000), reads(4, *TOLD)),
    Kind("no ranges, as the server says", served(no_ranges), reads(4, *TOLD)),
    Kind("the length is not told", served(chunked), reads(4)),
    Kind("packed on the way", served(packed), reads(4)),
    Kind("said to be packed", served(garbled), unread("odd")),
    Kind("another type", served(typed), reads(4)),
    Kind("a page instead", served(page), damaged("it is a web page or XML, not a tar")),
    Kind("the body ends too early", served(short), unread("odd")),
    Kind("half of the file", served(halves), damaged(samples=None)),
    Kind("HEAD tells another length", served(head_lies), damaged(samples=None)),
    Kind("slow", served(drip), reads(4)),
    Kind("closed without an answer", served(hang_up), unread("odd")),
    Kind("redirects for ever", served(loop), unread("odd")),
    Kind("redirected", served(moved), reads(4)),
    Kind("one of three is missing", served(Handler.ranged, "{sound,odd,none}.tar"), Outcome(1, ("none",), 4)),
    Kind("401", served(status(401)), unread("odd")),
    Kind("403", served(status(403)), unread("odd")),
    Kind("404", served(status(404)), unread("odd")),
    Kind("410", served(status(410)), unread("odd")),
    Kind("500", served(status(500)), unread("odd")),
    Kind("503 with a time to wait", served(status(503, Retry_After="1")), unread("odd")),
    Kind("HEAD goes well, GET has 500", served(status(500, get_only=True)), unread("odd")),
    Kind("HEAD is not allowed", served(get_alone), reads(4)),
    Kind("one 503, then well", served(heals(503, 1)), reads(4)),
    Kind("a glob", served(Handler.ranged, "*.tar"), refused("a web server does not list its files")),
    Kind("a folder", served(Handler.ranged, ""), refused("a web server does not list its files")),
]
