"""Pools on object storage, which fails in odd ways."""

# ruff: noqa: E501 (a table: one kind a line)

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial

from tests.corpus.kind import Build, Kind, Outcome, reads, refused, unread
from tests.corpus.pool import OddPool, members, pack, sound
from tests.support.s3_server import s3

BUCKET = "pool"
ODD = r".* /pool/a/odd[.]tar"
VARIABLES = ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION")
Fault = tuple[str, str, float]  # see S3.fail


@contextmanager
def serving(pool: OddPool, faults: tuple[Fault, ...], shards: str) -> Iterator[Mapping[str, str]]:
    """Put the pool's files into a bucket, and let the recipe name them."""
    import boto3

    with s3() as server:
        client = boto3.client("s3")
        client.create_bucket(Bucket=BUCKET)
        for path in sorted(pool.pool.iterdir()):
            client.put_object(Bucket=BUCKET, Key=f"a/{path.name}", Body=path.read_bytes())
        server.reset()
        for fault in faults:
            server.fail(*fault)
        pool.pool_keys = {"shards": shards}
        yield {name: os.environ[name] for name in VARIABLES}


def stored(*faults: Fault, shards: str = "s3://pool/a", name: str = "odd.tar") -> Build:
    """A pool of two shards in a bucket, of which the odd one has one sample."""

    def build(pool: OddPool) -> None:
        pool.write(name, pack(members({"odd": sound(99)})))
        pool.serve = partial(serving, pool, faults, shards)

    return build


ALWAYS = float("inf")
DENIED = refused("s3://pool/a: PermissionError: Access Denied; check the spelling")
KINDS = [
    Kind("a folder", stored(), reads()),
    Kind("a glob", stored(shards="s3://pool/a/*.tar"), reads()),
    Kind("a key with blanks and signs", stored(name="odd a+b&c=d#é'.tar"), reads()),
    Kind("a key with percent signs", stored(name="odd%20%2F%.tar"), reads()),
    Kind("a key with markup", stored(name="odd[red]x[b].tar"), reads()),
    Kind("a key with escape sequences", stored(name="odd\x1b[31m.tar"), reads()),
    Kind("a bucket that does not exist", stored(shards="s3://none/a"), refused("s3://none/a")),
    Kind("a folder that does not exist", stored(shards="s3://pool/none"), refused("s3://pool/none")),
    Kind("a bucket with a wrong name", stored(shards="s3://No_Bucket!/a"), refused("No_Bucket!")),
    Kind("no bucket", stored(shards="s3://"), refused("'s3://'", "name a bucket")),
    Kind(
        "listing is denied",
        stored(("GET /pool[?]", "denied", ALWAYS)),
        refused("s3://pool/a: PermissionError: Access Denied; check"),
    ),
    Kind("a shard is denied", stored((ODD, "denied", ALWAYS)), unread("odd")),
    Kind(
        "the token has expired",
        stored((".*", "expired", ALWAYS)),
        refused("s3://pool/a: PermissionError: The provided token has expired"),
    ),
    Kind("one 503, then well", stored(("GET /pool/a/odd[.]tar", "503", 1)), reads()),
    Kind("one reset, then well", stored(("GET /pool/a/odd[.]tar", "reset", 1)), reads()),
    Kind("one answer is cut, then well", stored(("GET /pool/a/odd[.]tar", "cut", 1)), reads()),
    Kind("a shard is missing", stored(shards="s3://pool/a/{sound,odd,none}.tar"), Outcome(1, ("none",), 1)),
]
