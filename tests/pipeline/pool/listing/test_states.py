"""States of shards on object storage and web servers, and how many requests they cost."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from pipeline.pool.shards import list_shards
from pipeline.storage.identity import MISSING
from tests.support.s3_server import S3, s3


@pytest.fixture(scope="module")
def bucket() -> Iterator[S3]:
    """A bucket with pool/0.tar and pool/1.tar, and one tar in a folder with brackets."""
    import s3fs

    with s3() as server:
        fs = s3fs.S3FileSystem()
        fs.mkdir("listed")
        for name in ("pool/0.tar", "pool/1.tar", "my [set]/0.tar"):
            fs.pipe(f"listed/{name}", name.encode())
        yield server


def states(*patterns: str) -> dict[str, str]:
    """Name -> state."""
    return {shard.name: shard.state for shard in list_shards(list(patterns)).shards}


@pytest.mark.parametrize(
    ("pattern", "requests"),
    [
        ("s3://listed/pool", 1),
        ("s3://listed/pool/*.tar", 1),
        ("s3://listed/pool/{0,1}.tar", 1),
        ("s3://listed/pool/{0..1}.t*r", 2),
    ],
)
def test_one_listing_tells_every_state(bucket, pattern, requests):
    bucket.reset()
    found = states(pattern)
    assert bucket.count("GET /listed") == len(bucket.calls) == requests
    assert sorted(found) == ["0", "1"]
    assert all(state.startswith("10 ") for state in found.values())
    assert found == states("s3://listed/pool")


def test_a_single_path_costs_one_request(bucket):
    bucket.reset()
    found = states("s3://listed/pool/1.tar")
    assert bucket.calls == ["HEAD /listed/pool/1.tar"]
    assert found["1"] == states("s3://listed/pool")["1"]


def test_what_does_not_exist_is_missing_and_what_may_not_be_listed_is_unknown(bucket):
    assert states("s3://listed/pool/{1..2}.tar")["2"] == MISSING
    assert states("s3://listed/pool/2.tar") == {"2": MISSING}
    assert states("s3://listed/none/{1..2}.tar") == {"1": MISSING, "2": MISSING}
    bucket.fail("GET /listed", "denied")
    try:
        assert states("s3://listed/pool/{0,1}.tar") == {"0": "", "1": ""}
    finally:
        bucket.reset()


def test_a_state_changes_with_the_content(bucket):
    import s3fs

    before = states("s3://listed/pool")
    s3fs.S3FileSystem().pipe("listed/pool/1.tar", b"pool/2.tar")
    after = states("s3://listed/pool")
    assert (after["0"], after["1"] == before["1"]) == (before["0"], False)


def test_folders_that_are_called_like_patterns(bucket):
    for pattern in ("my [set]/0.tar", "my [set]", "my [set]/*.tar"):
        assert list(states(f"s3://listed/{pattern}")) == ["0"]


class Handler(BaseHTTPRequestHandler):
    """a.tar has an ETag, b.tar tells its size alone, c.tar may not be asked for, d.tar does not exist."""

    def do_HEAD(self) -> None:
        status = {"/c.tar": 403, "/d.tar": 404}.get(self.path.partition("?")[0], 200)
        self.send_response(status)
        self.send_header("Content-Length", "3")
        if self.path.startswith("/a.tar"):
            self.send_header("ETag", '"7"')
        self.end_headers()

    do_GET = do_HEAD

    def log_message(self, *_: object) -> None:
        pass


def test_web_servers():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{server.server_port}"
    try:
        found = states(f"{base}/{{a,b,c,d}}.tar", f"{base}/a.tar?signed=1/2")
    finally:
        server.shutdown()
        server.server_close()
    assert found == {"a": '3 "7"', "b": "3", "c": "", "d": MISSING, "a.tar%3Fsigned=1%2F2": '3 "7"'}
