"""A web server on loopback with every kind of answer that a list of URLs meets, each under its own path.

with web() as base:      "http://127.0.0.1:41231"
    f"{base}/photo/7"    the kinds are in KINDS; the number makes URLs different
"""

import io
import struct
import threading
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
from PIL import Image

STALL = 6.0  # seconds of silence: longer than the tests' time-out
PAGE = b"<!doctype html><title>Not found</title><p>This picture has moved."
# kind of answer -> the reason in Winnow's books; None if the picture arrives
KINDS = {
    "photo": None,
    "big": None,
    "typeless": None,
    "moved": None,
    "space and ü": None,
    "missing": "HTTP 404",
    "gone": "HTTP 410",
    "broken": "HTTP 500",
    "loop": "HTTP 302",
    "stall": "timed out",
    "drip": "timed out",
    "page": "no image",
    "bomb": "image too large",
    "endless": "file too large",
    "cut": "connection broken",
    "hangup": "connection broken",
    "robots": "disallowed by X-Robots-Tag",
    "inside": "address not public",
}


def photo(number: int, size: tuple[int, int] = (48, 32)) -> bytes:
    """A JPEG of one colour, which depends on the number."""
    sink = io.BytesIO()
    Image.new("RGB", size, (number * 7 % 256, number * 13 % 256, number * 29 % 256)).save(sink, "JPEG")
    return sink.getvalue()


def big() -> bytes:
    """A PNG of 1,200 x 900 with alpha."""
    sink = io.BytesIO()
    Image.fromarray(np.full((900, 1200, 4), 128, np.uint8)).save(sink, "PNG")
    return sink.getvalue()


def bomb() -> bytes:
    """A PNG of 16,000 x 16,000 in 32 KB."""
    side = 16_000
    rows = zlib.compress(bytes((1 + side // 8) * side))
    chunks = (b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)), (b"IDAT", rows), (b"IEND", b"")
    packed = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


class Handler(BaseHTTPRequestHandler):
    """Answers by the first part of the path."""

    hits: Counter[str]
    delay = 0.0
    bodies = {"big": big(), "bomb": bomb()}

    def do_GET(self) -> None:
        self.hits[self.path] += 1
        time.sleep(self.delay)
        self.answer()

    def answer(self) -> None:
        _, kind, number = (*self.path.split("/"), "0")[:3]
        number = int(number.split("?")[0])
        try:
            getattr(self, kind, self.picture)(number)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def send(self, body: bytes, status: int = 200, length: int | None = None, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in ({"Content-Type": "image/jpeg"} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def picture(self, number: int) -> None:
        """A photo, also under a path with letters that a URL must escape."""
        known = self.path.startswith(("/photo/", "/space%20and%20%C3%BC/"))
        self.send(photo(number) if known else PAGE, 200 if known else 404)

    def big(self, _: int) -> None:
        self.send(self.bodies["big"])

    def bomb(self, _: int) -> None:
        self.send(self.bodies["bomb"])

    def typeless(self, number: int) -> None:
        self.send(photo(number), Content_Type="text/html")

    def moved(self, number: int) -> None:
        self.send(b"", 302, Location=f"/photo/{number}?moved")

    def gone(self, _: int) -> None:
        self.send(PAGE, 410)

    def broken(self, _: int) -> None:
        self.send(PAGE, 500)

    def loop(self, number: int) -> None:
        self.send(b"", 302, Location=f"/loop/{number}")

    def inside(self, _: int) -> None:
        self.send(b"", 302, Location="http://169.254.169.254/latest/meta-data/")

    def stall(self, _: int) -> None:
        time.sleep(STALL)

    def drip(self, _: int) -> None:
        self.send(b"", length=1000)
        for _ in range(100):
            self.wfile.write(b".")
            time.sleep(0.2)

    def page(self, _: int) -> None:
        self.send(PAGE)

    def endless(self, _: int) -> None:
        self.send_response(200)
        self.end_headers()
        for _ in range(4096):
            self.wfile.write(bytes(1 << 20))

    def cut(self, number: int) -> None:
        self.send(photo(number)[:300], length=5000)

    def hangup(self, _: int) -> None:
        self.close_connection = True

    def robots(self, number: int) -> None:
        self.send(photo(number), X_Robots_Tag="noai")

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    """The default backlog is five connections; a sixth would wait for a second."""

    request_queue_size = 256
    daemon_threads = True


@contextmanager
def answering(server: ThreadingHTTPServer) -> Iterator[str]:
    """Let a server on loopback answer for the block; gives its address."""
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def web(delay: float = 0.0) -> Iterator[tuple[str, Counter[str]]]:
    """(base URL, requests by path). `delay`: seconds before each answer."""
    hits: Counter[str] = Counter()
    server = Server(("127.0.0.1", 0), type("Web", (Handler,), {"hits": hits, "delay": delay}))
    with answering(server) as address:
        yield address, hits
