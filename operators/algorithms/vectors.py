"""Embeddings as unit vectors: out of a column, out of a file, and in chunks of one fixed shape."""

import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import fsspec
import numpy as np
import polars as pl
from fsspec.implementations.local import LocalFileSystem

from pipeline.operator import Device

BLOCK = 65_536  # rows
ENDINGS = (".npy", ".npz", ".parquet", ".pt")


def unit(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n, d) of any float type -> (n, d) float32 of unit norm, and (n,) whether a row has a direction: a row
    that is zero, or not finite, has none and is all zeros."""
    rows = vectors.astype(np.float32)
    norms = np.sqrt(np.einsum("nd,nd->n", rows, rows, dtype=np.float64))
    directed = np.isfinite(norms) & (norms > 0)
    rows[~directed] = 0
    norms[~directed] = 1
    rows /= norms.astype(np.float32)[:, None]
    return rows, directed


def unit_column(column: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """The same of an Array column; a null row is zeros without a direction."""
    present = column.is_not_null().to_numpy()
    found, directed = unit(column.drop_nulls().to_numpy())
    rows, known = np.zeros((len(column), found.shape[1]), np.float32), present.copy()
    rows[present], known[present] = found, directed
    return rows, known


def directed(column: pl.Series) -> np.ndarray:
    """(n,) whether a row of an Array column has a direction; in blocks, for a shard's column may be a gigabyte."""
    blocks = (column[start : start + BLOCK] for start in range(0, len(column), BLOCK))
    return np.concatenate([*(unit_column(block)[1] for block in blocks), np.zeros(0, bool)])


def no_direction(columns: dict[str, pl.Series], known: dict[str, np.ndarray]) -> pl.Series:
    """(n,) String: which embedding is there and has no direction; null where none is so."""
    bad = {what: column.is_not_null() & ~pl.Series(known[what]) for what, column in columns.items()}
    reasons = (
        pl.when(rows).then(pl.lit(f"{what} embedding is zero or not finite")) for what, rows in bad.items()
    )
    return pl.select(pl.coalesce(*reasons)).to_series()


def read_vectors(path: str, array: str = "") -> np.ndarray:
    """(m, d) float vectors of a file, an .npy mapped and not read: .npy, .npz (`array`: which of its
    arrays), .parquet (which column), .pt read with weights_only (which of its tensors); any fsspec path.
    Raises ValueError, OSError."""
    ending = next((ending for ending in ENDINGS if path.endswith(ending)), None)
    if ending is None:
        raise ValueError(f"{path} must be one of {', '.join(ENDINGS)}")
    found = _read(path, ending, array)
    if found.ndim != 2 or not np.issubdtype(found.dtype, np.floating) or not len(found):
        raise ValueError(f"{path} must hold (m, d) floats, got {found.dtype} {found.shape}")
    return found


def map_npy(path: str) -> np.ndarray:
    """The array of an .npy file, mapped and not held; one on object storage is fetched into a file that goes
    with the array. Raises ValueError, OSError."""
    fs, local = fsspec.core.url_to_fs(path)
    if isinstance(fs, LocalFileSystem):
        return np.lib.format.open_memmap(local, mode="r")
    with tempfile.TemporaryDirectory() as folder:
        fs.get_file(local, f"{folder}/array.npy")
        return np.lib.format.open_memmap(f"{folder}/array.npy", mode="r")  # a mapped file outlives its name


def _read(path: str, ending: str, array: str) -> np.ndarray:
    if ending == ".npy":
        return map_npy(path)
    with fsspec.open(path, "rb") as file:
        if ending == ".npz":
            arrays = np.load(file, allow_pickle=False)
            return np.asarray(arrays[_named(path, array, list(arrays))])
        if ending == ".parquet":
            column = _named(path, array, list(pl.read_parquet_schema(file)))
            file.seek(0)
            return _stacked(path, pl.read_parquet(file, columns=[column])[column])
        import torch

        tensors = torch.load(file, map_location="cpu", weights_only=True)
        if not isinstance(tensors, dict):
            return np.asarray(tensors)
        return np.asarray(tensors[_named(path, array, list(tensors))])


def _named(path: str, array: str, names: list[str]) -> str:
    """Which of them: the one asked for, or the only one."""
    if array in names or (not array and len(names) == 1):
        return array or names[0]
    raise ValueError(f"array must name one of {', '.join(names) or 'none'} of {path}, got {array!r}")


def _stacked(path: str, column: pl.Series) -> np.ndarray:
    """A column of vectors, Array or List, as (m, d). Raises ValueError for rows that are null or not of one length."""
    if column.dtype == pl.List:
        widths = column.list.len().unique().to_list()
        if len(widths) != 1 or widths[0] is None:
            raise ValueError(
                f"{path}: {column.name} must have vectors of one length, got lengths {widths[:5]}"
            )
        column = column.list.to_array(widths[0])
    if column.null_count():
        raise ValueError(
            f"{path}: {column.name} must have a vector in each row, {column.null_count()} are null"
        )
    return column.to_numpy()


class Chunks:
    """Runs a function of tensors over rows, `rows` at a time and the last of them padded: shapes never
    vary, so a row's result does not depend on its neighbours. On a CPU chunks run side by side, each on one
    thread: sums never split differently."""

    def __init__(self, device: Device, rows: int) -> None:
        import torch

        self.rows, self.device = rows, device.name
        self.over: Callable[..., Iterable[Any]] = map
        if device.name == "cpu":
            torch.set_num_threads(1)
            if device.threads > 1:
                self.over = ThreadPoolExecutor(device.threads).map

    def tensor(self, values: np.ndarray) -> Any:
        """A copy on the device."""
        import torch

        return torch.from_numpy(np.ascontiguousarray(values)).to(self.device)

    def __call__(self, function: Callable[..., Any], *arrays: np.ndarray) -> np.ndarray:
        """`function(*tensors) -> (rows,)`, for each chunk of the arrays -> (n,) float32."""
        count = len(arrays[0])
        starts = range(0, count, self.rows)
        found = self.over(lambda start: self._one(function, start, arrays), starts)
        return np.concatenate([*found, np.zeros(0, np.float32)])[:count]

    def _one(self, function: Callable[..., Any], start: int, arrays: tuple[np.ndarray, ...]) -> np.ndarray:
        import torch

        with torch.inference_mode():
            padded = (_padded(array[start : start + self.rows], self.rows) for array in arrays)
            found: np.ndarray = function(*map(self.tensor, padded)).float().cpu().numpy()
            return found


def _padded(part: np.ndarray, rows: int) -> np.ndarray:
    return np.concatenate([part, np.zeros((rows - len(part), *part.shape[1:]), part.dtype)])
