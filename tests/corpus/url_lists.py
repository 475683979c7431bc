"""Lists of URLs for `winnow ingest`. Nothing answers at these addresses, so each URL is lost for a reason."""

import json

from tests.corpus.kind import Build, Kind, Outcome, downloads, refused
from tests.corpus.pool import OddPool

DEAD = "http://127.0.0.1:1/1.jpg"


def urls(*given: str) -> Build:
    """A list of JSON lines with these URLs."""
    return file("".join(json.dumps({"url": url, "text": "a photo"}) + "\n" for url in given).encode())


def file(data: bytes, name: str = "list.jsonl") -> Build:
    """A list of these bytes."""

    def build(pool: OddPool) -> None:
        pool.list = pool.beside(name, data)

    return build


def nothing(pool: OddPool) -> None:
    """A list that does not exist."""
    pool.list = pool.folder / "none.parquet"


def folder(pool: OddPool) -> None:
    """An empty folder instead of a list."""
    pool.list = pool.folder / "lists"
    pool.list.mkdir()


def lost(reason: str, count: int = 1) -> str:
    """How the books have a loss."""
    return f'"lost": {{ "{reason}": {count} }}'


HEADER = "url,text\n"
KINDS = [
    Kind("nobody answers", urls(DEAD), downloads(lost("no connection"))),
    Kind("a local file", urls("file:///photo.jpg"), downloads(lost("no URL"))),
    Kind("data in the URL", urls("data:image/png;base64,AAAA"), downloads(lost("no URL"))),
    Kind("ftp", urls("ftp://127.0.0.1/1.jpg"), downloads(lost("no URL"))),
    Kind(
        "a link-local address", urls("http://169.254.169.254/latest"), downloads(lost("address not public"))
    ),
    Kind("a multicast address", urls("http://224.0.0.1/"), downloads(lost("address not public"))),
    Kind("an unfinished IPv6 address", urls("http://[::1/1.jpg"), downloads(lost("no URL"))),
    Kind("a port that is no number", urls("http://127.0.0.1:port/"), downloads(lost("no URL"))),
    Kind("a port out of range", urls("http://127.0.0.1:99999/"), downloads('"downloaded": 0')),
    Kind("a line break in the URL", urls("http://127.0.0.1:1/a\r\nHost: b"), downloads('"downloaded": 0')),
    Kind("NUL in the URL", urls("http://127.0.0.1:1/\0"), downloads('"downloaded": 0')),
    Kind("escape sequences in the URL", urls("http://127.0.0.1:1/\x1b[31m"), downloads('"downloaded": 0')),
    Kind(
        "a lone surrogate",
        file(b'{"url": "http://127.0.0.1:1/\\ud800", "text": "a"}\n'),
        downloads('"listed": 1'),
    ),
    Kind("a host of 300 letters", urls(f"http://{'a' * 300}/"), downloads(lost("no URL"))),
    Kind("a host with empty labels", urls("http://a..b/1.jpg"), downloads(lost("no URL"))),
    Kind("a URL of 200,000 characters", urls(f"{DEAD}?{'a' * 200_000}"), downloads('"downloaded": 0')),
    Kind("an empty URL", urls(""), downloads(lost("no URL"))),
    Kind("a number as URL", file(b'{"url": 5, "text": "a"}\n'), downloads(lost("no URL"))),
    Kind("the same URL a hundred times", urls(*[DEAD] * 100), downloads(lost("no connection", 100))),
    Kind(
        "another name for the URL",
        file(b"link,text\nhttp://a,b\n", "list.csv"),
        refused("there are: link, text"),
    ),
    Kind(
        "another name for the caption",
        file(b"url,words\nhttp://a,b\n", "list.csv"),
        refused("there are: url, words"),
    ),
    Kind("a header alone", file(HEADER.encode(), "list.csv"), Outcome(0, ('"listed": 0',), None)),
    Kind("empty", file(b"", "list.csv"), Outcome(0, ('"listed": 0',), None)),
    Kind("no such file", nothing, refused("none.parquet")),
    Kind("an empty folder", folder, refused("lists")),
    Kind("a picture", file(b"\xff\xd8\xff\xe0", "list.jpg"), refused("list.jpg")),
    Kind("a tar", file(bytes(10240), "list.tar"), refused("list.tar")),
]
