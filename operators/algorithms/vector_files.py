"""Vectors from files: embeddings of a target, proxies, centroids. Nothing in a file is executed.

read_vectors("imagenet.npy")                    -> (m, d) floats, mapped into memory
read_vectors("features.npz", "l14_img")         -> one of its arrays
read_centroids("small_centroids_l14.pt")        -> also what DataComp saved: a pickled numpy array
"""

import io
import os
import pickle
import zipfile
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import polars as pl

from operators.algorithms.published import asset
from pipeline.assets import IN_MEMORY, map_array

ENDINGS = (".npy", ".npz", ".parquet", ".pt", ".pth")
FEATURES = (
    "image_features"  # the tensor that is meant if a .pt has several: OpenAI's and DataComp's name for it
)
PROTOCOL_4 = b"\x80\x04"  # how a pickle of that protocol begins; torch itself writes protocol 2


def read_vectors(address: str, array: str = "") -> np.ndarray:
    """(m, d) floats of a file that `pipeline.assets` can find: .npy (mapped, not read), .npz (`array`: which
    of its arrays), .parquet (which column), .pt or .pth (which tensor), read with weights_only. `array` may
    be empty if there is one, or a tensor called `image_features`. A file with a published name must have the
    published sha256. Raises ValueError, OSError, pickle.UnpicklingError."""
    ending = os.path.splitext(urlsplit(address).path)[1]
    if ending not in ENDINGS:
        raise ValueError(f"{address} must be one of {', '.join(ENDINGS)}")
    local = asset(address)
    match ending:
        case ".npy":
            vectors = map_array(local)
        case ".npz":
            vectors = _of_npz(local, address, array)
        case ".parquet":
            vectors = _of_parquet(local, address, array)
        case _:
            vectors = _of_torch(local, address, array)
    return _checked(vectors, address)


def read_centroids(address: str) -> np.ndarray:
    """(m, d) floats of a file of centroids. DataComp's script saves a numpy array in a pickle, which torch's
    safe reader refuses: it is read by an unpickler that builds arrays of numbers and nothing else. All other
    files are read by `read_vectors`. Raises the same errors."""
    if address.endswith((".pt", ".pth")) and (pickled := _protocol_4(asset(address))) is not None:
        return _checked(_Array(io.BytesIO(pickled)).load(), address)
    return read_vectors(address)


def _checked(vectors: Any, address: str) -> np.ndarray:
    """The vectors, if they are (m, d) floats. Raises ValueError."""
    if not isinstance(vectors, np.ndarray):
        raise ValueError(f"{address} must hold (m, d) floats, got {type(vectors).__name__}")
    if vectors.ndim != 2 or not np.issubdtype(vectors.dtype, np.floating) or not len(vectors):
        raise ValueError(f"{address} must hold (m, d) floats, got {vectors.dtype} {vectors.shape}")
    return vectors


def _of_npz(local: str, address: str, array: str) -> np.ndarray:
    """One of the arrays of an .npz."""
    with np.load(local, allow_pickle=False) as arrays:
        return np.asarray(arrays[_chosen(address, array, list(arrays))])


def _of_parquet(local: str, address: str, array: str) -> np.ndarray:
    """A column of vectors of a .parquet, (m, d)."""
    name = _chosen(address, array, list(pl.read_parquet_schema(local)))
    return _stacked(address, pl.read_parquet(local, columns=[name])[name])


def _of_torch(local: str, address: str, array: str) -> Any:
    """The tensor of what torch.save wrote, or that of a name in a dictionary, as an array."""
    import torch

    try:
        saved = torch.load(local, map_location="cpu", weights_only=True)
    except RuntimeError as error:
        raise ValueError(f"{address} is not a file of torch.save: {error}") from None
    if isinstance(saved, dict):
        named = [name for name in saved if isinstance(name, str)]
        saved = saved[_chosen(address, array or FEATURES * (FEATURES in named), named)]
    if not isinstance(saved, torch.Tensor):
        return saved
    return (saved.float() if saved.dtype == torch.bfloat16 else saved).numpy()  # numpy has no bfloat16


def _chosen(address: str, array: str, names: list[str]) -> str:
    """The name that `array` asks for, or the only one."""
    if array in names or (not array and len(names) == 1):
        return array or names[0]
    raise ValueError(f"array must name one of {', '.join(names) or 'none'} of {address}, got {array!r}")


def _stacked(address: str, column: pl.Series) -> np.ndarray:
    """(m, d) of a column of vectors, Array or List. Raises ValueError for nulls and for rows of several
    lengths."""
    if column.dtype == pl.List:
        widths = column.list.len().unique().to_list()
        if len(widths) != 1 or widths[0] is None:
            raise ValueError(
                f"{address}: {column.name} must have vectors of one length, got lengths {widths[:5]}"
            )
        column = column.list.to_array(widths[0])
    if column.null_count():
        raise ValueError(
            f"{address}: {column.name} must have a vector in each row, {column.null_count()} are null"
        )
    return column.to_numpy()


def _protocol_4(local: str) -> bytes | None:
    """The pickle in a file of torch.save if it is of protocol 4, which torch does not write by itself."""
    if not zipfile.is_zipfile(local):
        return None
    with zipfile.ZipFile(local) as archive:
        name = next((name for name in archive.namelist() if name.endswith("/data.pkl")), None)
        if name is None:
            return None
        with archive.open(name) as file:
            if file.read(len(PROTOCOL_4)) != PROTOCOL_4:
                return None
        if (size := archive.getinfo(name).file_size) > IN_MEMORY:
            raise ValueError(f"{local} has a pickle of {size:,} bytes, must have at most {IN_MEMORY:,}")
        return archive.read(name)


class _Array(pickle.Unpickler):
    """Builds arrays of numbers and nothing else: every other name in a file is refused."""

    def find_class(self, module: str, name: str) -> Any:
        """The two classes and one function that an array's pickle names. Raises ValueError for any other."""
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "_reconstruct":
            return np._core.multiarray._reconstruct  # type: ignore[attr-defined]
        if module == "numpy" and name in ("ndarray", "dtype"):
            return getattr(np, name)
        raise ValueError(f"a file of vectors must hold an array, got {module}.{name}")
