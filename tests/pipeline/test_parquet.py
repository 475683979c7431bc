"""Parquet within bounds: how many rows are unpacked together, and what texts become."""

import io
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import parquet
from pipeline.arrow_columns import texts
from pipeline.parquet import Parquet, garbled
from pipeline.parquet_pages import walk
from tests.corpus.parquet import lying


def write(path, table, **options) -> str:
    pq.write_table(pa.table(table), path, **options)
    return str(path)


def sizes(path, names, rows):
    with Parquet(path) as table:
        return [batch.num_rows for batch in table.batches(names, rows)]


def test_long_values_of_a_dictionary_are_unpacked_few_at_a_time(tmp_path, monkeypatch):
    values = pa.array(["x" * 1000, "y"]).dictionary_encode().take(pa.array([1] * 90 + [0] * 10))
    path = write(tmp_path / "a.parquet", {"text": values.dictionary_decode()})
    assert sizes(path, ["text"], 64) == [64, 36]
    monkeypatch.setattr(parquet, "AT_ONCE", 10_000)
    assert sizes(path, ["text"], 64) == [10] * 10


def test_plain_values_are_unpacked_by_their_average(tmp_path, monkeypatch):
    path = write(
        tmp_path / "a.parquet", {"text": ["x" * 1000] * 100}, use_dictionary=False, compression="none"
    )
    monkeypatch.setattr(parquet, "AT_ONCE", 20_480)
    assert max(sizes(path, ["text"], 64)) <= 20


def test_row_groups_are_not_put_together(tmp_path):
    path = write(tmp_path / "a.parquet", {"text": ["a"] * 10}, row_group_size=4)
    assert sizes(path, ["text"], 64) == [4, 4, 2]


def test_a_file_object_is_as_good_as_a_path(tmp_path):
    path = write(tmp_path / "a.parquet", {"text": ["a"] * 10})
    with open(path, "rb") as file, Parquet(file) as table:
        assert sum(batch.num_rows for batch in table.batches(["text"], 3)) == table.rows == 10


class Counted(io.BytesIO):
    """A file of other storage, and the ranges that it was asked for."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.asked: list[tuple[int, int]] = []

    def read(self, size: int = -1) -> bytes:
        self.asked.append((self.tell(), size))
        return super().read(size)


def test_of_other_storage_a_row_group_takes_one_request(tmp_path):
    """The pages of neighbouring columns come at once; a column far behind them takes one more. Neither the
    look at the pages nor the one at the dictionaries takes any."""
    texts_of = [f"text {n}" for n in range(2000)]
    noise = [random.Random(n).randbytes(200) for n in range(2000)]
    table = {"text": texts_of, "url": texts_of[::-1], "noise": noise, "uid": ["a" * 400, "b"] * 1000}
    path = write(tmp_path / "a.parquet", table, row_group_size=1000, data_page_size=500)
    footer = 1  # of this size it comes with the end of the file
    for names, each in [(["text", "url"], 1), (["text", "url", "uid"], 2), (list(table), 1)]:
        file = Counted(Path(path).read_bytes())
        with Parquet(file) as found:
            assert sum(batch.num_rows for batch in found.batches(names, 64)) == 2000
        assert len(file.asked) == footer + 2 * each, file.asked


@pytest.mark.parametrize(("told", "footer", "said"), [(600, True, "700 .* 600"), (800, False, "800 .* 700")])
def test_of_other_storage_pages_are_compared_with_the_footer(told, footer, said):
    out = io.BytesIO()
    pq.write_table(pa.table({"text": [f"text {n}" for n in range(700)]}), out, use_dictionary=False)
    data = lying(out.getvalue(), 700, told, footer)
    with Parquet(io.BytesIO(data)) as table, pytest.raises(ValueError, match=f"text has pages of {said}"):
        list(table.batches(["text"], 64))


@pytest.mark.parametrize("options", [{}, {"use_dictionary": False}, {"data_page_version": "2.0"}])
@pytest.mark.parametrize("packing", ["none", "zstd", "snappy"])
def test_the_pages_of_a_column_are_what_the_footer_says(tmp_path, options, packing):
    table = {"text": [f"text {n}" for n in range(9000)], "list": [["a", None], [], None] * 3000}
    path = write(tmp_path / "a.parquet", table, compression=packing, data_page_size=2000, **options)
    footer = pq.read_metadata(path)
    with open(path, "rb") as file:
        for index in range(footer.num_columns):
            chunk = footer.row_group(0).column(index)
            start = chunk.dictionary_page_offset or chunk.data_page_offset
            pages = walk(file, start, chunk.total_compressed_size, chunk.num_values)
            assert pages.values == chunk.num_values
            assert 0 < pages.unpacked <= chunk.total_uncompressed_size  # which counts the headers too
    assert sum(sizes(path, ["text", "list"], 1000)) == 9000


def test_what_the_disk_says_is_not_garbled():
    with pytest.raises(PermissionError), garbled("a.parquet"):
        raise PermissionError(13, "no")
    with pytest.raises(OSError, match="broken pipe"), garbled("a.parquet", local=False):
        raise OSError("broken pipe")
    with (
        pytest.raises(ValueError, match=r"^a\.parquet: Couldn't deserialize"),
        garbled("a.parquet", local=False),
    ):
        raise OSError("Couldn't deserialize thrift:\n No more data")


def test_texts():
    values = pa.array(["a", "b" * (1 << 20), "c" * ((1 << 20) + 1), None])
    found, troubles = texts(values, "text")
    assert [None if text is None else len(text) for text in found.to_pylist()] == [1, 1 << 20, None, None]
    assert troubles == {
        2: "column text has 1,048,577 bytes, must have at most 1,048,576 (limits.caption_bytes)"
    }
    for uids in (True, False):
        found, _ = texts(pa.array([bytes(range(16)), b"short"]), "uid", uids=uids)
        assert found.to_pylist() == [bytes(range(16)).hex() if uids else bytes(range(16)).decode(), "short"]
    with pytest.raises(ValueError, match="column a is list<item: string>, must be text or a number"):
        texts(pa.array([["a"]]), "a")
    assert texts(pa.array([["a", "b"], [], None, [None]]), "a", first=True)[0].to_pylist() == [
        "a",
        None,
        None,
        None,
    ]
