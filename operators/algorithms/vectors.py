"""Embeddings as unit vectors, and the loop that runs a function of tensors over them in chunks of one shape."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import polars as pl

from pipeline.operator import Device

BLOCK = 65_536  # rows


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
