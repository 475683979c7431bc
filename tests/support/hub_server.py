"""Hugging Face's hub on loopback, with one dataset, `me/pool`, whose files are those of a folder.

with hub(folder) as server:      serves hf://datasets/me/pool/... for the block
    server.refuse = 2            the next two reads of files are answered with 503
"""

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import urlparse

TREE = re.compile("/api/datasets/me/pool/tree/main(?:/(.*))?")
FILE = re.compile("/datasets/me/pool/resolve/[^/]+/(.*)")
RANGE = re.compile(r"bytes=(\d*)-(\d*)")


class Hub(ThreadingHTTPServer):
    """The server."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder, self.refuse = folder, 0


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        target = urlparse(self.path)
        if found := TREE.fullmatch(target.path):
            folder, deep = self.server.folder / (found[1] or ""), "recursive=true" in target.query.lower()
            if folder.is_dir():
                self.say([self.entry(p) for p in sorted(folder.rglob("*") if deep else folder.iterdir())])
            else:
                self.missing()
        elif found := FILE.fullmatch(target.path):
            self.file(self.server.folder / found[1])
        elif target.path.startswith("/api/datasets/me/pool"):
            self.say({"id": "me/pool", "sha": "1" * 40, "siblings": []})
        else:
            self.missing()

    def file(self, path: Path) -> None:
        if not path.is_file():
            self.missing()
        elif self.server.refuse > 0:
            self.server.refuse -= 1
            self.say({"error": "busy"}, 503)
        else:
            data = path.read_bytes()
            if found := RANGE.fullmatch(self.headers.get("Range") or ""):
                first, last = int(found[1] or len(data) - int(found[2])), int(found[2] or len(data) - 1)
                last = last if found[1] else len(data) - 1
                part = data[max(first, 0) : last + 1]
                self.say(part, 206, {"Content-Range": f"bytes {first}-{first + len(part) - 1}/{len(data)}"})
            else:
                self.say(data, 200, {"ETag": '"x"', "X-Repo-Commit": "1" * 40})

    def entry(self, path: Path) -> dict[str, Any]:
        name = str(path.relative_to(self.server.folder))
        if path.is_dir():
            return {"type": "directory", "path": name, "oid": "0" * 40, "size": 0}
        oid = hashlib.sha1(path.read_bytes(), usedforsecurity=False).hexdigest()
        return {"type": "file", "path": name, "oid": oid, "size": path.stat().st_size}

    def missing(self) -> None:
        self.say({"error": "EntryNotFound"}, 404, {"X-Error-Code": "EntryNotFound"})

    def say(self, body: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


@contextmanager
def hub(folder: Path) -> Iterator[Hub]:
    """A server, for as long as the block lasts."""
    from huggingface_hub import HfFileSystem, constants

    server = Hub(folder)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    HfFileSystem.clear_instance_cache()
    try:
        with (
            mock.patch.object(constants, "ENDPOINT", url),
            mock.patch.object(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template),
        ):
            yield server
    finally:
        server.shutdown()
        server.server_close()
        HfFileSystem.clear_instance_cache()
