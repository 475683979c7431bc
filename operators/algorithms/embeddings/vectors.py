"""Embeddings as vectors, at unit length or as they are, and which rows have one; and the loop that runs a
function of tensors over them in chunks of one shape.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import polars as pl

from operators.algorithms.reasons import NOT_FINITE, ZERO_VECTOR
from operators.algorithms.threads import torch_on_one_thread
from pipeline.operator import Device

BLOCK = 65_536  # rows
SMALL = 1024  # rows that stay in the cache


def unit(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n, d) of any float type -> (n, d) float32 of unit norm, and (n,) whether each row has a direction. A
    row that is zero or not finite has none, and becomes all zeros."""
    rows = vectors.astype(np.float32)
    norms = np.sqrt(np.einsum("nd,nd->n", rows, rows, dtype=np.float64))
    directed = np.isfinite(norms) & (norms > 0)
    rows[~directed] = 0
    norms[~directed] = 1
    rows /= norms.astype(np.float32)[:, None]
    return rows, directed


def check_width(field: str, column: pl.Series, wanted: int, whose: str, hint: str = "") -> None:
    """Raises ValueError if an Array column has another width than `whose` file, table or model. Its type
    tells, so that rows of null are no exception: the whole batch fails, not the rows with an embedding."""
    width = column.dtype.shape[0]  # type: ignore[attr-defined]
    if width != wanted:
        raise ValueError(f"{field}: {column.name} has {width} numbers per row, {whose} has {wanted}{hint}")


def unit_column(column: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """The same for an Array column. A null row becomes zeros without a direction."""
    if not column.null_count():
        return unit(column.to_numpy())
    present = column.is_not_null().to_numpy()
    vectors, directed = unit(column.drop_nulls().to_numpy())
    rows = np.zeros((len(column), vectors.shape[1]), np.float32)
    has_direction = present.copy()
    rows[present] = vectors
    has_direction[present] = directed
    return rows, has_direction


def directed(column: pl.Series) -> np.ndarray:
    """(n,) whether each row of an Array column has a direction. Worked out block by block, since a shard's
    column may have a gigabyte."""
    blocks = (column[start : start + BLOCK] for start in range(0, len(column), BLOCK))
    return np.concatenate([*(unit_column(block)[1] for block in blocks), np.zeros(0, bool)])


def features(
    embedding: pl.Series, norm: pl.Series | None, normalise: bool
) -> tuple[np.ndarray, pl.Series, pl.Series]:
    """(n,) embeddings, and (n,) their lengths if they are stored at length 1 -> (m, d) float32 features of
    the rows that have one, (n,) which rows these are, (n,) why others that are not null have none."""
    width = embedding.dtype.shape[0]  # type: ignore[attr-defined]
    present = embedding.is_not_null() & (norm.is_not_null() if norm is not None else True)
    vectors = embedding.filter(present).to_numpy().astype(np.float32).reshape(-1, width)
    if norm is not None:
        vectors = vectors * norm.filter(present).to_numpy().astype(np.float32)[:, None]
    length = np.sqrt(np.square(vectors, dtype=np.float64).sum(1))
    if normalise:
        with np.errstate(divide="ignore", invalid="ignore"):
            vectors = (vectors / length[:, None]).astype(np.float32)
    usable = np.isfinite(length) & ((length > 0) | (not normalise))
    places = present.arg_true().to_numpy()
    good, zero = np.zeros((2, len(embedding)), bool)
    good[places] = usable
    zero[places] = length == 0
    error = pl.select(
        pl.when(pl.Series(good) | ~present)
        .then(pl.lit(None, pl.String))
        .when(pl.Series(zero))
        .then(pl.lit(ZERO_VECTOR))
        .otherwise(pl.lit(NOT_FINITE))
    ).to_series()
    return vectors[usable], pl.Series(good), error


def projected(column: pl.Series, vector: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n,) inner products of an Array column, each row at unit length, with (d,) `vector`, float64, and (n,)
    whether each row has a direction; a row without one has 0. Each row by itself, summed in float64."""
    present = column.is_not_null().to_numpy()
    rows = column.drop_nulls().to_numpy()
    products, squares = np.zeros((2, len(rows)))
    for start in range(0, len(rows), SMALL):
        part = rows[start : start + SMALL].astype(np.float64)
        squares[start : start + SMALL] = np.einsum("nd,nd->n", part, part)
        part *= vector
        products[start : start + SMALL] = part.sum(1)
    found, directed = np.zeros(len(column)), np.zeros(len(column), bool)
    good = np.isfinite(squares) & (squares > 0)
    directed[present] = good
    found[directed] = products[good] / np.sqrt(squares[good])
    return found, directed


class Chunks:
    """Runs a function of tensors over rows, `rows` at a time, the last chunk padded. Shapes never vary, so a
    row's result does not depend on its neighbours. On a CPU the chunks run side by side, each on one thread,
    so that sums are never split differently."""

    def __init__(self, device: Device, rows: int) -> None:
        self.rows = rows
        self.device = device.name
        self.over: Callable[..., Iterable[Any]] = map
        if device.name == "cpu":
            torch_on_one_thread()
            if device.threads > 1:
                self.over = ThreadPoolExecutor(device.threads).map

    def tensor(self, values: np.ndarray) -> Any:
        """A copy of an array on the device."""
        import torch

        return torch.from_numpy(np.ascontiguousarray(values)).to(self.device)

    def __call__(self, function: Callable[..., Any], *arrays: np.ndarray) -> np.ndarray:
        """`function(*tensors) -> (rows, ...)`, for each chunk of the arrays -> (n, ...) float32."""
        count = len(arrays[0])
        starts = range(0, max(count, 1), self.rows)  # one chunk at least, whose shape an empty result has
        parts = self.over(lambda start: self._one(function, start, arrays), starts)
        return np.concatenate(list(parts))[:count]

    def _one(self, function: Callable[..., Any], start: int, arrays: tuple[np.ndarray, ...]) -> np.ndarray:
        """(rows, ...) float32: the result for the chunk that begins at row `start`, padding included."""
        import torch

        with torch.inference_mode():
            padded = (_padded(array[start : start + self.rows], self.rows) for array in arrays)
            found: np.ndarray = function(*map(self.tensor, padded)).float().cpu().numpy()
            return found


def _padded(part: np.ndarray, rows: int) -> np.ndarray:
    """(m, ...) -> (rows, ...): zeros after the rows of `part`."""
    return np.concatenate([part, np.zeros((rows - len(part), *part.shape[1:]), part.dtype)])
