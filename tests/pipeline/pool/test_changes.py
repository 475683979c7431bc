"""What a kind of pool notes of a shard's content, and shards that change while they are read."""

import gzip
import os
import subprocess
import sys
from pathlib import Path

import fsspec
import polars as pl
import pytest

from pipeline.errors import ChangedError
from pipeline.pool.kinds.files import Files
from pipeline.pool.kinds.kind import PoolKind
from pipeline.pool.kinds.tables import Tables
from pipeline.pool.kinds.tars import Tars
from pipeline.pool.shards import Shard
from pipeline.storage.identity import local_state, state_digest
from tests.pipeline.pool.made_tars import make
from tests.support.decided_pool import sample

MEMBERS = [file for number in range(5) for file in sample(number)]
TAR = make(*MEMBERS)
TARS = {
    "whole": TAR,
    "cut": TAR[: len(TAR) - 4000],
    "cut in its first member": TAR[:600],
    "damaged in the middle": TAR[:5000] + b"garbage" + TAR[5007:],
    "with junk after the end": TAR + b"junk" * 5000,
    "with an unread member": make(*MEMBERS, ("000000009.npy", b"12345" * 200_000)),
    "empty": b"",
}
TABLE = "text\turl\n" + "a caption\thttp://x/1\n" * 5


def noted(kind: PoolKind, shard: Shard) -> dict:
    """The notes after all samples were read."""
    notes: dict = {}
    for _ in kind.read(shard, 2, notes):
        pass
    return notes


def content(kind: PoolKind, path: Path) -> str:
    """The content of a shard, for which reading and identifying must agree."""
    shard = Shard("0", str(path))
    notes = noted(kind, shard)
    assert (notes["state"], notes["content"]) == kind.identify(shard)
    assert notes["state"] == local_state(path.stat())
    return notes["content"]


@pytest.mark.parametrize("name", TARS)
def test_tars(tmp_path, name):
    """The content covers every byte of the file, also after a break, after the end, and of unread members."""
    path = tmp_path / "0.tar"
    data = bytearray(TARS[name])
    path.write_bytes(data)
    first = content(Tars((), {}), path)
    found = {first}
    for at in range(1, len(data), 3001):  # in headers, pictures, padding and junk
        data[at] ^= 1
        path.write_bytes(data)
        found.add(content(Tars((), {}), path))
        data[at] ^= 1
    assert len(found) == 1 + len(range(1, len(data), 3001))
    path.write_bytes(data)
    assert content(Tars((), {}), path) == first


@pytest.mark.parametrize("name", ["0.tsv", "0.tsv.gz", "0.parquet", "0.jsonl"])
def test_tables(tmp_path, name):
    def written(caption: str) -> str:
        frame = pl.DataFrame({"text": [caption] * 3, "url": ["http://x"] * 3, "other": [caption] * 3})
        path = tmp_path / name
        if name.endswith("parquet"):
            frame.write_parquet(path)
        elif name.endswith("jsonl"):
            frame.write_ndjson(path)
        else:
            text = frame.write_csv(separator="\t").encode()
            path.write_bytes(gzip.compress(text) if name.endswith("gz") else text)
        return content(Tables((), {}), path)

    assert written("a dog") == written("a dog") != written("a cat")


@pytest.mark.parametrize(
    "data", [TABLE[:-30].encode(), gzip.compress(TABLE.encode())[:-12]], ids=["cut", "packed and cut"]
)
def test_a_broken_table(tmp_path, data):
    path = tmp_path / ("0.tsv.gz" if data[:2] == b"\x1f\x8b" else "0.tsv")
    path.write_bytes(data)
    before = content(Tables((), {}), path)
    path.write_bytes(data[:-1] + b"\0")
    assert content(Tables((), {}), path) != before


def test_parquet_elsewhere_is_as_new_as_its_state():
    """Reading all of it would cost more than the columns that are read."""
    with fsspec.open("memory://changes/0.parquet", "wb") as out:
        pl.DataFrame({"text": ["a dog"]}).write_parquet(out)
    shard = Shard("0", "memory://changes/0.parquet")
    notes = noted(Tables((), {}), shard)
    assert (notes["state"], notes["content"]) == Tables((), {}).identify(shard)
    assert notes["content"] == state_digest(notes["state"])


def folder(path: Path) -> Shard:
    """The only shard of a folder with MEMBERS and a member that makes no row."""
    path.mkdir()
    for name, data in [*MEMBERS, ("000000002.npy", b"12345"), ("README.md", b"passed over")]:
        (path / name).write_bytes(data)
    (shard,) = Files((str(path),), {}).list_shards().shards
    return shard


def test_files(tmp_path):
    """The content covers name and bytes of each file that makes a sample, and of no other."""
    kind = Files((f"{tmp_path}/pool",), {})
    shard = folder(tmp_path / "pool")
    assert noted(kind, shard)["state"] == shard.state
    found = []
    for name, data in {"README.md": b"x", "000000002.npy": b"12346", "000000001.txt": b"a cat"}.items():
        found.append(noted(kind, shard)["content"])
        assert kind.identify(shard).content == found[-1]
        (tmp_path / "pool" / name).write_bytes(data)
    found.append(kind.identify(shard).content)
    (tmp_path / "pool/000000001.txt").rename(tmp_path / "pool/000000001.caption.txt")
    found.append(kind.identify(shard).content)
    assert found[0] == found[1]
    assert len(set(found)) == 4


# --- changes while a shard is read ----------------------------------------------------------------


def shortened(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def replaced(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    os.replace(other, path)


@pytest.mark.parametrize("change", [shortened, replaced])
@pytest.mark.parametrize("name", ["0.tar", "0.tsv", "0.parquet"])
def test_a_file_that_changes_while_it_is_read(tmp_path, name, change):
    path = tmp_path / name
    frame = pl.DataFrame({"text": ["a caption"] * 20_000, "url": [f"http://x/{n}" for n in range(20_000)]})
    if name == "0.tar":
        path.write_bytes(TAR)
    elif name == "0.tsv":
        frame.write_csv(path, separator="\t")
    else:
        frame.write_parquet(path, row_group_size=1000)
    kind = Tars((), {}) if name == "0.tar" else Tables((), {})
    notes: dict = {}
    source = kind.read(Shard("0", str(path)), 2 if name == "0.tar" else 500, notes)
    next(source)
    change(path)
    with pytest.raises(ChangedError, match=rf"{name} changed while it was read \(.*\): it is read again"):
        list(source)
    assert "content" not in notes


def test_a_folder_that_changes_while_it_is_read(tmp_path):
    kind = Files((f"{tmp_path}/pool",), {})
    shard = folder(tmp_path / "pool")
    source = kind.read(shard, 2, {})
    next(source)
    (tmp_path / "pool/000000000.txt").write_bytes(b"written again")
    with pytest.raises(ChangedError, match="pool: files changed while they were read: it is read again"):
        list(source)


def test_members_of_a_folder_with_another_state(tmp_path):
    kind = Files((f"{tmp_path}/pool",), {})
    shard = folder(tmp_path / "pool")
    with (
        pytest.raises(ChangedError, match="while they were read: run the command again"),
        kind.members(shard),
    ):
        (tmp_path / "pool/000000000.txt").write_bytes(b"written again")
    with pytest.raises(ChangedError, match="since they were listed: run the command"), kind.members(shard):
        pass


SHRINKS = """
import os, sys
from pipeline.errors import ChangedError
from pipeline.pool.kinds.tars import Tars
from pipeline.pool.shards import Shard

source = Tars((), {}).read(Shard("0", sys.argv[1]), 1, {})
next(source)
os.truncate(sys.argv[1], 700_000)
try:
    print(sum(len(frame) for frame, _ in source))
except ChangedError as error:
    print(error)
"""


def test_a_tar_that_shrinks_while_it_is_read_does_not_end_the_process(tmp_path):
    """A mapped file would: reading behind its new end is a SIGBUS."""
    path = tmp_path / "0.tar"
    path.write_bytes(make(*MEMBERS, *((f"{n}.bin", bytes(1 << 20)) for n in range(40)), end=False))
    os.truncate(path, 1 << 30)
    done = subprocess.run([sys.executable, "-c", SHRINKS, str(path)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "changed while it was read (size 1073741824 -> 700000 bytes): it is read again" in done.stdout
