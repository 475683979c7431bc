"""The room that exports need: by hand, before and after a decision."""

import json
import shutil
from collections import namedtuple

import pytest

from jobs import steps
from pipeline.plan.session import Session
from pipeline.preflight.preview import preview
from pipeline.preflight.space import check_space
from pipeline.run.executor import LocalExecutor
from tests.support.decided_pool import decided, ordinary, recipe

USAGE = namedtuple("USAGE", "total used free")


@pytest.fixture
def everything(tmp_path) -> dict:
    ordinary(tmp_path / "pool")
    index = {"embedding": "vector.embedding", "path": f"{tmp_path}/index"}
    names = ("shards", "urls", "table", "subset")
    return {**{name: f"{tmp_path}/{name}" for name in names}, "index": index}


def sizes(session: Session, rows) -> dict[str, tuple]:
    spaces, _ = check_space(session, rows)
    return {space.export: (space.bytes, space.at_most, space.earlier) for space in spaces}


def test_before_anything_is_read_only_the_pool_s_bytes_are_known(tmp_path, everything):
    pool = sum(path.stat().st_size for path in (tmp_path / "pool").iterdir())
    found = sizes(Session.open(recipe(tmp_path, everything)), {})
    assert found.pop("export.shards") == (pool, True, 0)
    assert set(found.values()) == {(None, True, 0)}


def test_once_it_is_decided(tmp_path, everything):
    """Shards of 7, 0 and 5 samples, of which 5, 0 and 3 are kept."""
    session = decided(tmp_path, everything)
    first, _, last = (path.stat().st_size for path in sorted((tmp_path / "pool").iterdir()))
    scores = 1 + sum(not t.is_nested() for t in session.recipe.operator("caption").writes.values())
    assert sizes(session, {"00000": 7, "00001": 0, "00002": 5}) == {
        "export.shards": (round(first * 5 / 7 + last * 3 / 5), False, 0),
        "export.subset": (8 * 32, False, 0),
        "export.urls": (8 * 200, False, 0),
        "export.table": (8 * (200 + 8 * scores), False, 0),
        "export.index.path": (2 * 8 * (200 + 4 * 8), False, 0),  # while its parts are joined
    }


def test_an_export_that_is_complete_needs_nothing_and_an_earlier_one_counts(tmp_path, everything):
    rows = {"00000": 7, "00001": 0, "00002": 5}
    session = decided(tmp_path, everything)
    steps.write_exports(session, LocalExecutor())
    assert sizes(session, rows) == {}
    other = decided(tmp_path, everything, keep={"caption.characters": {"min": 17}})
    tars = sum(path.stat().st_size for path in (tmp_path / "shards").iterdir())
    found = sizes(other, rows)
    assert found["export.shards"][2] == tars
    assert found["export.subset"][2] == 128 + 16 * 8
    assert len(found) == 5


def test_repeats_and_object_storage(tmp_path, everything):
    more = {"repeats": "caption.words", "urls": "memory://space/urls"}
    session = decided(tmp_path, everything | more)
    found = sizes(session, {"00000": 7, "00001": 0, "00002": 5})
    assert found["export.shards"][0] is None
    assert found["export.subset"][0] is None
    assert "export.urls" not in found


def test_a_disk_that_is_too_small(tmp_path, everything, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: USAGE(10**9, 10**9, 1000))
    session = decided(tmp_path, everything)
    (warning,) = [w for w in preview(session).warnings if "GB" in w]
    assert warning.startswith(
        "export.shards, export.subset, export.urls, export.table, export.index.path: about"
    )
    assert "0.0 GB are free. An earlier export stays until the new one is whole" in warning


@pytest.mark.parametrize("content", [b"[]", b"garbled", json.dumps({"decision": "x"}).encode()])
def test_a_manifest_that_is_not_ours_is_no_obstacle(tmp_path, content):
    ordinary(tmp_path / "pool")
    session = decided(tmp_path, {"shards": f"{tmp_path}/out"})
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "_winnow.json").write_bytes(content)
    assert list(sizes(session, {})) == ["export.shards"]
