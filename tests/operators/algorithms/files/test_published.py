"""Published files: checked against their authors' sha256, and found where they were published."""

import hashlib
from pathlib import Path

import fsspec
import pytest

from operators.algorithms.files import published
from operators.algorithms.files.published import ADDRESSES, FASTTEXT, PUBLISHED, asset

TEXT = b"n02084071\n"
URL = "memory://assets/published.txt"
MEMORY = fsspec.filesystem("memory")


@pytest.fixture(autouse=True)
def a_published_file(monkeypatch):
    """`memory://assets/published.txt` as if someone had published it."""
    MEMORY.pipe_file("/assets/published.txt", TEXT)
    monkeypatch.setattr(published, "PUBLISHED", {**PUBLISHED, URL: hashlib.sha256(TEXT).hexdigest()})
    monkeypatch.setattr(published, "ADDRESSES", {**ADDRESSES, "published.txt": URL})


def test_a_path_is_itself(tmp_path):
    (tmp_path / "mine.txt").write_bytes(b"anything")
    assert asset(f"{tmp_path}/mine.txt") == f"{tmp_path}/mine.txt"


def test_a_published_file_must_hold_what_was_published(tmp_path):
    path = tmp_path / "published.txt"
    path.write_bytes(TEXT)
    assert asset(str(path)) == str(path)
    path.write_bytes(b"half of i")
    digest = hashlib.sha256(TEXT).hexdigest()
    with pytest.raises(
        ValueError,
        match=rf"published\.txt has the sha256 .*, must have {digest}, as the published published\.txt: "
        "download it again, or give a file of your own another name",
    ):
        asset(str(path))


def test_a_url_is_downloaded_once():
    path = asset(URL)
    assert Path(path).read_bytes() == TEXT
    MEMORY.rm("/assets/published.txt")
    assert asset(URL) == path


def test_a_download_that_is_not_what_was_published():
    MEMORY.pipe_file("/assets/published.txt", b"an error page")
    with pytest.raises(ValueError, match="has the sha256"):
        asset(URL)
    MEMORY.pipe_file("/assets/published.txt", TEXT)
    assert Path(asset(URL)).read_bytes() == TEXT


def test_an_error_says_where_a_missing_file_is_published(tmp_path):
    with pytest.raises(
        FileNotFoundError,
        match=rf"lid\.176\.bin does not exist; it is published at {FASTTEXT}: download it, or give this URL as",
    ):
        asset(f"{tmp_path}/lid.176.bin")
    MEMORY.rm("/assets/published.txt")
    with pytest.raises(
        FileNotFoundError, match=rf"{URL} does not exist, or this machine cannot reach it: download"
    ):
        asset(URL)  # it is the published address itself
    with pytest.raises(FileNotFoundError, match=r"mine\.npy does not exist$"):
        asset(f"{tmp_path}/mine.npy")
