"""Published files: found, checked, and read without running what is in them."""

import hashlib
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from operators.algorithms import assets
from operators.algorithms.assets import ADDRESSES, FASTTEXT, asset, read_vectors

TEXT = b"n02084071\n"


@pytest.fixture(autouse=True)
def published(monkeypatch, tmp_path):
    """`memory://assets/published.txt` as if someone had published it; downloads go to tmp_path/cache."""
    import fsspec

    url = "memory://assets/published.txt"
    fsspec.filesystem("memory").pipe_file("/assets/published.txt", TEXT)
    fsspec.filesystem("memory").pipe_file("/assets/other.txt", b"other")
    monkeypatch.setattr(assets, "PUBLISHED", {**assets.PUBLISHED, url: hashlib.sha256(TEXT).hexdigest()})
    monkeypatch.setattr(assets, "ADDRESSES", {**ADDRESSES, "published.txt": url})
    monkeypatch.setattr(assets, "CACHE", f"{tmp_path}/cache")
    return url


def test_a_path_is_itself(tmp_path):
    (tmp_path / "mine.txt").write_bytes(b"anything")
    assert asset(f"{tmp_path}/mine.txt") == f"{tmp_path}/mine.txt"


def test_a_published_file_must_hold_what_was_published(tmp_path):
    path = tmp_path / "published.txt"
    path.write_bytes(TEXT)
    assert asset(str(path)) == str(path)
    path.write_bytes(b"half of i")
    with pytest.raises(
        ValueError, match=r"published\.txt has the sha256 .* the published published\.txt has"
    ):
        asset(str(path))


def test_a_url_is_downloaded_once(published, tmp_path):
    import fsspec

    path = asset(published)
    assert Path(path).read_bytes() == TEXT
    fsspec.filesystem("memory").rm("/assets/published.txt")
    assert asset(published) == path
    assert Path(asset("memory://assets/other.txt")).read_bytes() == b"other"


def test_a_download_that_is_not_what_was_published(published):
    import fsspec

    fsspec.filesystem("memory").pipe_file("/assets/published.txt", b"an error page")
    with pytest.raises(ValueError, match="has the sha256"):
        asset(published)
    fsspec.filesystem("memory").pipe_file("/assets/published.txt", TEXT)
    assert Path(asset(published)).read_bytes() == TEXT


def test_what_is_missing_says_where_it_is(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=rf"lid\.176\.bin does not exist; it is published at {FASTTEXT}"
    ):
        asset(f"{tmp_path}/lid.176.bin")
    with pytest.raises(FileNotFoundError, match=r"mine\.npy does not exist$"):
        asset(f"{tmp_path}/mine.npy")


VECTORS = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.mark.parametrize("half", [False, True])
def test_every_form_of_vectors(half, tmp_path):
    values = VECTORS.astype(np.float16) if half else VECTORS
    np.save(tmp_path / "a.npy", values)
    torch.save(values, tmp_path / "b.pt", pickle_protocol=4)  # as DataComp saved its centroids
    torch.save(torch.from_numpy(values), tmp_path / "c.pt")
    torch.save({"image_features": torch.from_numpy(values)}, tmp_path / "d.pt")
    for name in ("a.npy", "b.pt", "c.pt", "d.pt"):
        found = read_vectors(f"{tmp_path}/{name}")
        assert found.dtype == np.float32
        assert (found == VECTORS).all()


class Evil:
    """Runs a command where it is unpickled without care."""

    def __reduce__(self):
        return os.mkdir, ("evil",)


@pytest.mark.parametrize("protocol", [2, 4])
def test_nothing_in_a_file_runs(protocol, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(Evil(), tmp_path / "a.pt", pickle_protocol=protocol)
    with pytest.raises((ValueError, pickle.UnpicklingError)):
        read_vectors(f"{tmp_path}/a.pt")
    np.save(tmp_path / "a.npy", np.array([[Evil()]], object))
    with pytest.raises(ValueError, match="allow_pickle"):
        read_vectors(f"{tmp_path}/a.npy")
    assert not (tmp_path / "evil").exists()


def test_what_holds_no_vectors(tmp_path):
    np.save(tmp_path / "a.npy", VECTORS[0])
    with pytest.raises(ValueError, match=r"must hold rows of floats, \(n, d\), got ndarray"):
        read_vectors(f"{tmp_path}/a.npy")
    with zipfile.ZipFile(tmp_path / "b.pt", "w") as archive:
        archive.writestr("readme", b"")
    with pytest.raises(ValueError, match=r"b\.pt is no file of torch\.save"):
        read_vectors(f"{tmp_path}/b.pt")
    torch.save({"other": torch.zeros(2, 2)}, tmp_path / "c.pt")
    with pytest.raises(ValueError, match="must hold rows of floats"):
        read_vectors(f"{tmp_path}/c.pt")
