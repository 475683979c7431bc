"""A web server that tells neither an ETag nor a time of change: a file of equal size passes for the same."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.support.place import Place, told
from tests.support.web_server import answering


class Handler(SimpleHTTPRequestHandler):
    """Serves a folder. `silent`: without a time of change."""

    silent = True
    asked = list[str]()

    def send_header(self, keyword: str, value: str) -> None:
        if not (self.silent and keyword == "Last-Modified"):
            super().send_header(keyword, value)

    def send_response(self, code: int, message: str | None = None) -> None:
        self.asked.append(f"{self.command} {self.path}")
        super().send_response(code, message)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def served(folder: Path, silent: bool) -> Iterator[tuple[str, list[str]]]:
    """The address of a folder, and the requests."""
    asked = list[str]()
    kind = type("Told", (Handler,), {"silent": silent, "asked": asked})
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(kind, directory=str(folder)))
    with answering(server) as address:
        yield address, asked


@pytest.mark.parametrize("silent", [True, False])
def test_the_run_and_the_books_say_so(tmp_path: Path, silent: bool) -> None:
    place = Place(tmp_path)
    del place.export["shards"], place.export["samples_per_shard"]  # this server has no ranges
    place.three()
    with served(tmp_path, silent) as (base, asked):
        place.pool_keys = {"shards": f"{base}/pool/{{0..2}}.tar"}
        assert place.run()["books"]["unwatched"] == 3 * silent
        asked.clear()
        said = told(place.winnow("run"))["said"]
        assert len(asked) == 3
        assert said.count("neither an ETag nor a time of change") == silent
        assert ("not watched 3 shards" in said) == silent
        assert told(place.winnow("plan", "--json"))["said"].count("neither an ETag") == silent
