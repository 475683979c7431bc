"""As test_damage.py, for exports on object storage."""

import re

import fsspec
import pytest

from tests.support.damaged_exports import (
    DAMAGES,
    FILES,
    NOTES,
    STATES,
    cut,
    exports,
    flipped,
    heals,
    held,
    run,
)
from tests.support.decided_pool import decided, ordinary
from tests.support.s3_server import s3
from tests.support.sizes import only_full


@pytest.fixture(scope="module")
def bucket(tmp_path_factory):
    """As `finished`, on S3; with the server."""
    pytest.importorskip("moto")
    home = tmp_path_factory.mktemp("damage_s3")
    ordinary(home / "pool")
    with s3() as server:
        fsspec.filesystem("s3").mkdir("bucket")
        session = decided(home, exports("s3://bucket/out"))
        run(session)
        yield server, ("s3://bucket/out", session, held("s3://bucket/out"))


SMALL = [("shards/00000001.tar", flipped), ("index/image.json", None), ("kept.parquet", cut)]


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        *SMALL,
        *(
            pytest.param(name, damage, marks=only_full)
            for name in [*FILES, *NOTES, *STATES]
            for damage in DAMAGES
            if (name, damage) not in SMALL
        ),
    ],
)
def test_damage_on_object_storage(bucket, name, damage, caplog):
    heals(bucket[1], name, damage, caplog)


def test_on_object_storage_nothing_is_read_to_see_that_nothing_changed(bucket):
    server, (_, session, _) = bucket
    server.reset()
    run(session)
    assert server.count(r"GET /bucket/out/.*(tar|parquet|npy|index|_stats\.json|sizes\.json)$") == 0
    heads = [call for call in server.calls if re.match(r"HEAD /bucket/out/(shards|urls|index)/", call)]
    asked = {".winnow.lock", ".winnow-next", "text.json"}  # the last: an index of another kind in the folder
    assert {call.rsplit("/", 1)[1] for call in heads} <= asked
