"""Links in a tar: to files before them in the same tar, and nowhere else."""

import gzip
import io
import tarfile

import pytest

from pipeline.pool.archive import links
from pipeline.pool.kinds.tars import Tars
from pipeline.pool.shards import Shard
from pipeline.pool.tar import walk
from pipeline.pool.tar_reader import read_samples
from tests.pipeline.pool.made_samples import JPEG, rows_of


def linked(*entries, format=tarfile.PAX_FORMAT) -> bytes:
    """A tar of (name, contents) or (name, type of link, its target)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as writer:
        for name, *rest in entries:
            info = tarfile.TarInfo(name)
            if len(rest) == 2:
                info.type, info.linkname = rest
                writer.addfile(info)
            else:
                info.size = len(rest[0])
                writer.addfile(info, io.BytesIO(rest[0]))
    return out.getvalue()


HARD, SYMBOLIC = tarfile.LNKTYPE, tarfile.SYMTYPE
A = ("d/a.jpg", b"abc")


@pytest.mark.parametrize(
    ("name", "kind", "target"),
    [
        ("b.jpg", HARD, "d/a.jpg"),
        ("b.jpg", HARD, "./d/a.jpg"),
        ("b.jpg", SYMBOLIC, "d/a.jpg"),
        ("d/b.jpg", SYMBOLIC, "a.jpg"),
        ("e/b.jpg", SYMBOLIC, "../d/a.jpg"),
        ("./d/b.jpg", SYMBOLIC, "a.jpg"),
    ],
)
@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_where_links_lead(name, kind, target, format, pack):
    data = pack(linked(A, (name, kind, target), ("last.jpg", b"x"), format=format))
    assert [(m.name, bytes(m.data)) for m in walk(data)] == [A, (name, b"abc"), ("last.jpg", b"x")]


def test_long_targets_and_links_to_links():
    long = "x" * 150 + ".jpg"
    for format in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        data = linked((long, b"abc"), ("b.jpg", HARD, long), ("c.jpg", SYMBOLIC, "b.jpg"), format=format)
        assert [bytes(m.data) for m in walk(data)] == [b"abc"] * 3


@pytest.mark.parametrize(
    "target", ["gone.jpg", "later.jpg", "b.jpg", "../../etc/passwd", "/d/a.jpg", "", "d"]
)
def test_links_that_lead_nowhere(tmp_path, target):
    (tmp_path / "gone.jpg").write_bytes(JPEG)
    data = linked(A, ("b.jpg", SYMBOLIC, target), ("b.txt", b"b"), ("later.jpg", b"x"))
    path = tmp_path / "0.tar"
    path.write_bytes(data)
    rows = rows_of(read_samples(Shard("s", str(path))))
    assert [row["key"] for row in rows] == ["d/a", "b", "later"]
    assert rows[1]["image"] is None
    assert f"b.jpg is a link to {target}, which is none of the 65,536 files before it" in rows[1]["error"]


def test_bytes_that_links_lead_to_are_bounded(monkeypatch):
    monkeypatch.setattr(links, "FREE", 1000)
    monkeypatch.setattr(links, "RATIO", 1)
    many = [(f"{i}.jpg", HARD, "d/a.jpg") for i in range(30)]
    members = list(walk(linked(("d/a.jpg", bytes(2000)), *many)))
    followed = [m for m in members[1:] if m.data is not None]
    assert 0 < len(followed) < 20
    assert any("led to too many bytes" in member.trouble for member in members)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_exports_copy_what_links_lead_to(tmp_path, pack):
    other = ("other.jpg", b"y" * 3000)
    data = linked(("d/a.jpg", JPEG), other, ("b.jpg", HARD, "d/a.jpg"), ("b.txt", b"b"), ("c.jpg", JPEG))
    path = tmp_path / "0.tar"
    path.write_bytes(pack(data))
    kind = Tars([str(path)], {})
    (shard,) = kind.list_shards().shards
    rows = rows_of(read_samples(shard))
    with kind.members(shard) as members_of:
        found = [[(suffix, bytes(data)) for suffix, data in members_of(row)] for row in rows]
    assert found == [
        [("jpg", JPEG)],
        [("jpg", other[1])],
        [("jpg", JPEG), ("txt", b"b")],
        [("jpg", JPEG)],
    ]
