"""Lists of others: digests, texts and hashes, in files of lines and in parquet."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from operators.lists import Listed, NearestHash
from pipeline.operator import Device
from tests.support.samples import samples

DIGESTS = [b"\x01" * 16, b"\xab" * 16, None, b"\xff" * 16]


def frame() -> pl.DataFrame:
    return samples(4, text=["a dog", "#tag", None, "x"]).with_columns(
        pl.Series("d.digest", DIGESTS, pl.Binary)
    )


def listed(file: Path, **fields) -> list[bool | None]:
    operator = Listed(**{"column": "d.digest", "file": str(file), **fields})
    operator.setup({}, Device())
    return operator.score(frame())["listed"].to_list()


def test_digests_of_a_file_of_lines(tmp_path):
    (tmp_path / "list.txt").write_text("# of the test set\n\nabababababababababababababababab \nnot one\n")
    assert listed(tmp_path / "list.txt") == [False, True, None, False]
    (tmp_path / "list.txt").write_text("")
    assert listed(tmp_path / "list.txt") == [False, False, None, False]


def test_digests_of_a_table(tmp_path):
    """Its column has the name of the pool's, unless another is named; texts in it are digits."""
    table = pl.DataFrame({"d.digest": [DIGESTS[3], None], "hex": ["01" * 16, "ab" * 16]})
    table.write_parquet(tmp_path / "list.parquet")
    assert listed(tmp_path / "list.parquet") == [False, False, None, True]
    assert listed(tmp_path / "list.parquet", name="hex") == [True, True, None, False]
    with pytest.raises(ValueError, match=r"list\.parquet: has 0 columns called no, must have one"):
        listed(tmp_path / "list.parquet", name="no")
    pl.DataFrame({"d.digest": [1]}).write_parquet(tmp_path / "list.parquet")
    with pytest.raises(ValueError, match=r"d\.digest must hold texts or bytes, got Int64"):
        listed(tmp_path / "list.parquet")


def test_captions(tmp_path):
    (tmp_path / "list.txt").write_text("a dog\n")
    assert listed(tmp_path / "list.txt", column="text") == [True, False, None, False]


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"PAR1 and then nothing of a table"])
def test_a_file_that_is_no_list(content, tmp_path):
    (tmp_path / "list").write_bytes(content)
    with pytest.raises(ValueError, match="list"):
        listed(tmp_path / "list")


# --- hashes ----------------------------------------------------------------------------------------


def nearest(file: Path, hashes, **fields) -> pl.DataFrame:
    operator = NearestHash(hash="p.hash", file=str(file), **fields)
    operator.setup({}, Device(threads=2))
    rows = samples(len(hashes)).with_columns(pl.Series("p.hash", hashes, pl.Binary))
    return operator.score(rows)


def test_the_nearest_hash_of_a_list(tmp_path):
    """Lines as ThreatExchange has them: a hash, then its quality; upper case is the same."""
    (tmp_path / "list.txt").write_text(f"{'00' * 32},100\n{'FF' * 32} a comment\n")
    hashes = [b"\xff" * 31 + b"\xf0", None, b"\x00" * 32, b"\x03" * 32]
    found = nearest(tmp_path / "list.txt", hashes)
    assert found["distance"].to_list() == [4, None, 0, 64]
    assert found["match"].to_list() == ["ff" * 32, None, "00" * 32, "00" * 32]


def test_beside_all_distances(tmp_path):
    rng = np.random.default_rng(0)
    ours, theirs = rng.integers(0, 256, (2, 50, 32), np.uint8)
    pl.DataFrame({"h": [row.tobytes() for row in theirs]}).write_parquet(tmp_path / "list.parquet")
    found = nearest(tmp_path / "list.parquet", [row.tobytes() for row in ours], name="h")
    assert found["distance"].to_list() == np.bitwise_count(ours[:, None] ^ theirs).sum(2).min(1).tolist()


def test_an_empty_list_and_a_wrong_one(tmp_path):
    (tmp_path / "list.txt").write_text("\n")
    found = nearest(tmp_path / "list.txt", [b"\x00" * 32, None])
    assert found.rows() == [(256, None), (None, None)]
    (tmp_path / "list.txt").write_text("00ff\n")
    with pytest.raises(ValueError, match="a line must begin with 64 hexadecimal digits, got '00ff'"):
        nearest(tmp_path / "list.txt", [b"\x00" * 32])
