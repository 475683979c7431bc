"""An S3 server on loopback (moto's, over HTTP) that counts its requests and fails on demand.

with s3() as server:             sets AWS_ENDPOINT_URL and credentials for the block
    server.fail("GET .*0[.]tar", "cut", times=1)
    server.calls                 ["GET /pool/a/0.tar", ...]
"""

import os
import re
import socket
import struct
import threading
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

ERRORS = {
    "500": (500, "InternalError", "We encountered an internal error. Please try again."),
    "503": (503, "SlowDown", "Please reduce your request rate."),
    "expired": (400, "ExpiredToken", "The provided token has expired."),
    "denied": (403, "AccessDenied", "Access Denied"),
}
FAULTS = (*ERRORS, "reset", "cut")


@dataclass
class Fault:
    """The next `left` requests whose line (`GET /bucket/key?query`) matches `pattern` fail in the way of
    `kind`."""

    pattern: str
    kind: str
    left: float


@dataclass
class S3:
    """The server: its faults, and the requests it has had."""

    application: Callable[..., Any]
    calls: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    lock: Any = field(default_factory=threading.Lock)

    def fail(self, pattern: str, kind: str, times: float = float("inf")) -> None:
        """Plan a fault."""
        assert kind in FAULTS
        self.faults.append(Fault(pattern, kind, times))

    def count(self, pattern: str) -> int:
        """How many requests so far match."""
        return sum(bool(re.match(pattern, call)) for call in self.calls)

    def reset(self) -> None:
        """Forget all faults and requests."""
        self.calls.clear()
        self.faults.clear()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        query = environ.get("QUERY_STRING", "")
        line = f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}" + (f"?{query}" if query else "")
        with self.lock:
            self.calls.append(line)
            fault = next((f for f in self.faults if f.left > 0 and re.match(f.pattern, line)), None)
            if fault is not None:
                fault.left -= 1
        if fault is None:
            return self.application(environ, start_response)
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        if fault.kind == "reset":
            return _reset(environ)
        if fault.kind == "cut":
            return _cut(self.application(environ, start_response), environ)
        status, code, message = ERRORS[fault.kind]
        start_response(f"{status} Planned", [("Content-Type", "application/xml")])
        return [f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()]


def _reset(environ: dict[str, Any]) -> Iterable[bytes]:
    """Reset the connection; `close` alone would wait for the files that are open on it."""
    connection = environ["werkzeug.socket"]
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    os.close(connection.detach())
    raise ConnectionError("planned")


def _cut(body: Iterable[bytes], environ: dict[str, Any]) -> Iterator[bytes]:
    """Send half of a body whose length was announced, then close the connection."""
    whole = b"".join(body)
    yield whole[: len(whole) // 2]
    environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)


@contextmanager
def s3() -> Iterator[S3]:
    """Run a server without buckets while the block lasts. s3fs forgets the previous one."""
    import s3fs
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        def log(self, *_: object) -> None:
            pass

        def handle(self) -> None:
            with suppress(OSError):  # of a connection that was reset
                super().handle()

        def finish(self) -> None:
            with suppress(OSError):
                super().finish()

    made = S3(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, made, threaded=True, request_handler=Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    given = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    before = {name: os.environ.get(name) for name in given}
    os.environ.update(given)
    s3fs.S3FileSystem.clear_instance_cache()
    reset = f"{given['AWS_ENDPOINT_URL']}/moto-api/reset"  # moto keeps its buckets for the whole process
    urllib.request.urlopen(urllib.request.Request(reset, method="POST"), timeout=30).close()
    try:
        yield made
    finally:
        server.shutdown()
        s3fs.S3FileSystem.clear_instance_cache()
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
