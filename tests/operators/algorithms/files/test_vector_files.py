"""Files of vectors: every form of them, and nothing in them runs."""

import os
import pickle
import zipfile

import numpy as np
import polars as pl
import pytest
import torch

from operators.algorithms.files import torch_files
from operators.algorithms.files.vector_files import read_vectors

pytestmark = pytest.mark.filterwarnings("ignore:Detected pickle protocol 4")  # torch reads it all the same
VECTORS = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.mark.parametrize("half", [False, True])
def test_every_form_of_vectors(half, tmp_path):
    values = VECTORS.astype(np.float16) if half else VECTORS
    np.save(tmp_path / "a.npy", values)
    np.savez(tmp_path / "b.npz", any=values)
    torch.save(torch.from_numpy(values), tmp_path / "c.pt")
    torch.save({"image_features": torch.from_numpy(values)}, tmp_path / "d.pt")
    torch.save({"image_features": torch.from_numpy(values), "labels": torch.zeros(2)}, tmp_path / "e.pth")
    pl.DataFrame({"v": pl.Series(VECTORS, dtype=pl.Array(pl.Float32, 3))}).write_parquet(
        tmp_path / "f.parquet"
    )
    for name in ("a.npy", "b.npz", "c.pt", "d.pt", "e.pth", "f.parquet"):
        found = read_vectors(f"{tmp_path}/{name}")
        assert found.dtype == (np.float32 if name == "f.parquet" else values.dtype)
        assert (found == VECTORS).all()


def test_an_npy_is_mapped(tmp_path):
    np.save(tmp_path / "a.npy", VECTORS)
    assert isinstance(read_vectors(f"{tmp_path}/a.npy"), np.memmap)


def test_bfloat16(tmp_path):
    torch.save(torch.from_numpy(VECTORS).bfloat16(), tmp_path / "a.pt")
    found = read_vectors(f"{tmp_path}/a.pt")
    assert found.dtype == np.float32
    assert (found == VECTORS).all()


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f4"])
def test_a_pickled_array(dtype, protocol, tmp_path):
    values = np.random.default_rng(0).standard_normal((4, 3)).astype(dtype)
    torch.save(values, tmp_path / "a.pt", pickle_protocol=protocol)  # DataComp's centroids: protocol 4
    (tmp_path / "b.pt").write_bytes(pickle.dumps(values, protocol))
    for name in ("a.pt", "b.pt"):
        found = read_vectors(f"{tmp_path}/{name}")
        assert found.dtype == values.dtype
        assert found.tobytes() == values.tobytes()


def test_a_pickle_is_bounded(tmp_path, monkeypatch):
    torch.save(VECTORS, tmp_path / "b.pt", pickle_protocol=4)
    monkeypatch.setattr(torch_files, "IN_MEMORY", 10)
    with pytest.raises(ValueError, match=r"b\.pt has a pickle of \d+ bytes, must have at most 10$"):
        read_vectors(f"{tmp_path}/b.pt")


class Evil:
    """Runs a command where it is unpickled without care."""

    def __reduce__(self):
        return os.mkdir, ("evil",)


@pytest.mark.parametrize("protocol", [2, 4])
def test_nothing_in_a_file_runs(protocol, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(Evil(), tmp_path / "a.pt", pickle_protocol=protocol)
    with pytest.raises(ValueError, match=r"a\.pt"):
        read_vectors(f"{tmp_path}/a.pt")
    np.save(tmp_path / "a.npy", np.array([[Evil()]], object))
    with pytest.raises(ValueError, match="Python objects"):
        read_vectors(f"{tmp_path}/a.npy")
    np.savez(tmp_path / "a.npz", a=np.array([[Evil()]], object))
    with pytest.raises(ValueError, match="Python objects"):
        read_vectors(f"{tmp_path}/a.npz")
    assert not (tmp_path / "evil").exists()


def test_files_that_hold_no_vectors(tmp_path):
    np.save(tmp_path / "a.npy", VECTORS[0])
    with pytest.raises(ValueError, match=r"must hold \(m, d\) floats, got float32 \(3,\)$"):
        read_vectors(f"{tmp_path}/a.npy")
    with zipfile.ZipFile(tmp_path / "b.pt", "w") as archive:
        archive.writestr("readme", b"")
    with pytest.raises(ValueError, match=r"b\.pt is not a file of torch\.save"):
        read_vectors(f"{tmp_path}/b.pt")
    torch.save({"one": torch.zeros(2, 2), "two": torch.zeros(2, 2)}, tmp_path / "c.pt")
    with pytest.raises(ValueError, match=r"array must name one of one, two of .*c\.pt, got ''$"):
        read_vectors(f"{tmp_path}/c.pt")
    torch.save([torch.zeros(2, 2)], tmp_path / "d.pt")
    with pytest.raises(ValueError, match=r"must hold \(m, d\) floats, got list$"):
        read_vectors(f"{tmp_path}/d.pt")
