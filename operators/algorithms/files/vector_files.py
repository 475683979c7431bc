"""Vectors from files: embeddings of a target, proxies, centroids. Nothing in a file is executed.

read_vectors("imagenet.npy")                    -> (m, d) floats, mapped into memory
read_vectors("features.npz", "l14_img")         -> one of its arrays
read_vectors("small_centroids_l14.pt")          -> what DataComp saved: a pickled numpy array
why_not_vectors("imagenet.npy")                 -> "": as far as its header tells, it can be read
"""

import os
import zipfile
import zlib
from typing import Any

import numpy as np
import polars as pl

from operators.algorithms.files.pickled_array import read_array
from operators.algorithms.files.published import asset, ending_of
from operators.algorithms.files.torch_files import array_pickle, load_tensors
from pipeline.assets import map_array
from pipeline.bounds import USUAL
from pipeline.npy import Header, check_size, open_member, read_header
from pipeline.parquet import Parquet, garbled

ENDINGS = (".npy", ".npz", ".parquet", ".pt", ".pth")
FEATURES = "image_features"  # the tensor that is meant if a .pt has several, as OpenAI and DataComp name it
FLOATS = (2, 4, 8)  # bytes of one
ROWS = 8192  # rows of a .parquet that are unpacked together


def read_vectors(address: str, array: str = "") -> np.ndarray:
    """(m, d) floats of a file that `pipeline.assets` can find: .npy (mapped, not read), .npz (`array`: which
    of its arrays), .parquet (which column), .pt or .pth (which tensor; or one numpy array, as DataComp's
    script saves centroids). `array` may be empty if there is one, or a tensor called `image_features`. A file
    with a published name must have the published sha256. Raises ValueError and OSError."""
    ending = ending_of(address, ENDINGS)
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


def why_not_vectors(address: str, array: str = "") -> str:
    """Why a local file does not hold (m, d) floats, as far as its beginning tells; empty if it may. Tensors
    are not looked at."""
    try:
        match ending_of(address, ENDINGS):
            case ".npy":
                with open(address, "rb") as file:
                    header = read_header(file, address)
                    check_size(header, os.fstat(file.fileno()).st_size, address)
                _check_header(header, address)
            case ".npz":
                _open_npz(address, address, array)
            case ".parquet":
                with garbled(address), Parquet(address) as table:
                    _column(table, address, array)
            case _:
                array_pickle(address, address)
    except (ValueError, OSError) as error:
        return str(error)
    return ""


def rows_of(address: str) -> int | None:
    """How many vectors a local file holds, of which `why_not_vectors` says nothing; None if its beginning
    does not tell. Raises ValueError and OSError."""
    match ending_of(address, ENDINGS):
        case ".npy":
            with open(address, "rb") as file:
                return read_header(file, address).shape[0]
        case ".parquet":
            with garbled(address), Parquet(address) as table:
                return table.rows
    return None


def _checked(vectors: Any, address: str) -> np.ndarray:
    """The vectors, if they are (m, d) floats. Raises ValueError."""
    if not isinstance(vectors, np.ndarray):
        raise ValueError(f"{address} must hold (m, d) floats, got {type(vectors).__name__}")
    _check_header(Header(vectors.dtype, vectors.shape, False, 0), address)
    return vectors


def _check_header(header: Header, address: str) -> None:
    """Raises ValueError for anything else than (m, d) floats."""
    is_float = header.dtype.kind == "f" and header.dtype.itemsize in FLOATS
    if len(header.shape) != 2 or not is_float or not all(header.shape):
        raise ValueError(f"{address} must hold (m, d) floats, got {header.kind}")


def _of_npz(local: str, address: str, array: str) -> np.ndarray:
    """One of the arrays of an .npz."""
    header, data = _open_npz(local, address, array, read=True)
    if len(data) < header.nbytes:
        raise ValueError(f"{address} ends before its {header.kind} do")
    order: Any = "F" if header.by_column else "C"
    return np.frombuffer(data, header.dtype).reshape(header.shape, order=order)


def _open_npz(local: str, address: str, array: str, read: bool = False) -> tuple[Header, bytes]:
    """The header of one of the arrays of an .npz, and its bytes if they are to be read."""
    try:
        with zipfile.ZipFile(local) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
            name = _chosen(address, array, names)
            header, file = open_member(archive, f"{name}.npy", f"{address}: {name}", USUAL.most_unpacked)
            _check_header(header, f"{address}: {name}")
            return header, file.read(header.nbytes) if read else b""
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise ValueError(f"{address} is not a whole .npz: {error}") from None


def _of_parquet(local: str, address: str, array: str) -> np.ndarray:
    """A column of vectors of a .parquet, (m, d)."""
    with garbled(address), Parquet(local) as table:
        name = _column(table, address, array)
        parts = [_stacked(address, _series(address, name, b)) for b in table.batches([name], ROWS)]
    if len(widths := {part.shape[1] for part in parts}) > 1:
        raise ValueError(
            f"{address}: {name} must have vectors of one length, got lengths {sorted(widths)[:5]}"
        )
    return np.concatenate(parts)


def _column(table: Parquet, address: str, array: str) -> str:
    """The name of the column of vectors."""
    name = _chosen(address, array, table.schema.names)
    if not table.rows:
        raise ValueError(f"{address} has no rows, must have a vector in each of one or more")
    try:
        table.check([name])
    except ValueError as error:
        raise ValueError(f"{address}: {error}") from None
    return name


def _series(address: str, name: str, batch: Any) -> pl.Series:
    """The column of a batch. Raises ValueError if polars has no such type."""
    try:
        return pl.Series(name, batch.column(0))
    except Exception as error:  # noqa: BLE001 - polars raises nearly anything for types that it does not know
        raise ValueError(f"{address}: {name} is {batch.column(0).type}, must be vectors: {error}") from None


def _of_torch(local: str, address: str, array: str) -> Any:
    """The tensor of what torch.save wrote, or that of a name in a dictionary, as an array."""
    if (pickled := array_pickle(local, address)) is not None:
        try:
            return read_array(pickled)
        except ValueError as error:
            raise ValueError(f"{address}: {error}") from None
    saved = load_tensors(local, address)
    if isinstance(saved, dict):
        named = [name for name in saved if isinstance(name, str)]
        saved = saved[_chosen(address, array or FEATURES * (FEATURES in named), named)]
    return saved


def _chosen(address: str, array: str, names: list[str]) -> str:
    """The name that `array` asks for, or the only one."""
    if names.count(array) == 1 or (not array and len(names) == 1):
        return array or names[0]
    listed = ", ".join(f"{name:.60}" for name in names[:20]) or "none"
    if names.count(array) > 1 or (not array and len(set(names)) == 1 and names):
        raise ValueError(f"{address} has several arrays called {array or names[0]!r}, must have one")
    raise ValueError(f"array must name one of {listed} of {address}, got {array!r}")


def _stacked(address: str, column: pl.Series) -> np.ndarray:
    """(m, d) of a column of vectors, Array or List. Raises ValueError for nulls and for rows of several
    lengths."""
    if not isinstance(column.dtype, pl.List | pl.Array):
        raise ValueError(f"{address}: {column.name} must hold (m, d) floats, got {column.dtype}")
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
    if column.to_frame().select(pl.col(column.name).explode().null_count()).item():
        raise ValueError(f"{address}: {column.name} must have a number at each place, some are null")
    return column.to_numpy()
