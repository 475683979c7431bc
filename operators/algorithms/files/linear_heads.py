"""Heads of linear layers on embeddings: read from files of strangers, put together, multiplied.

read_head("sa_0_4_vit_l_14_linear.pth")   -> Head([(weight (1, 768), bias (1,))], [0])
product(head.layers)                      -> one layer that does the same
outputs(vectors, *layer)                  -> (n, m), each row by itself
"""

import itertools
import os
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from operators.algorithms.files.published import asset, ending_of
from operators.algorithms.files.torch_files import (
    SAFETENSORS,
    load_safetensors,
    load_tensors,
    why_not_checkpoint,
)
from pipeline.assets import IN_MEMORY, map_array
from pipeline.npy import Header, check_size, read_header

NPY = ".npy"
ENDINGS = (NPY, SAFETENSORS, ".pth", ".pt")
CHUNK = 64  # rows multiplied at a time, padded: a row's result does not depend on its neighbours
BLOCK = 1024  # rows of a product with one vector, which stay in the cache
_LAYER = re.compile(r"(?:([A-Za-z_][A-Za-z_0-9]*)\.)?(?:(\d{1,9})\.)?(weight|bias)")

Layer = tuple[np.ndarray, np.ndarray]  # weight (m, n) and bias (m,), float64


class Head(NamedTuple):
    """Layers in order, and the numbers that they have in the file."""

    layers: list[Layer]
    places: list[int]


def read_head(address: str, bias: str = "") -> Head:
    """The layers of a file that `pipeline.assets` can find: tensors called `weight` and `bias`, or those of
    several layers, `0.weight`, `2.weight`, ..., all behind one name (`layers.0.weight`) or none, in a .pth,
    .pt or .safetensors; or one weight (m, d) or (d,) in an .npy, with a bias (m,) in another, `bias`, or
    without one. If no layer has a bias, all are zeros. Raises ValueError and OSError."""
    if ending_of(address, ENDINGS) == NPY:
        weight = _array(address, (1, 2))
        weight = weight.reshape(-1, weight.shape[-1])
        return Head([(weight, _bias(bias, len(weight)))], [0])
    if bias:
        raise ValueError(f"bias: {address} has its own; `bias` is for a weight in an .npy")
    local = asset(address)
    if (size := os.path.getsize(local)) > IN_MEMORY:
        raise ValueError(f"{address} has {size:,} bytes, must have at most {IN_MEMORY:,}")
    if reason := why_not_checkpoint(local):
        raise ValueError(reason)
    tensors = (
        load_safetensors(local)
        if ending_of(address, ENDINGS) == SAFETENSORS
        else load_tensors(local, address)
    )
    if not isinstance(tensors, dict):
        raise ValueError(f"{address} must hold tensors by name, got {type(tensors).__name__}")
    return _chain(tensors, address)


def why_not_head(path: str) -> str:
    """Why a local file does not hold a head, as far as its beginning tells; empty if it may."""
    try:
        if ending_of(path, ENDINGS) != NPY:
            return why_not_checkpoint(path)
        _shape(path, (1, 2))
    except (ValueError, OSError) as error:
        return str(error)
    return ""


def why_not_bias(path: str, weights: str) -> str:
    """Why a local file does not hold the bias of `weights`, as far as their beginnings tell; empty if it may,
    and if the weights are not on this machine."""
    try:
        if ending_of(weights, ENDINGS) != NPY:
            return f"{weights} has its own; `bias` is for a weight in an .npy"
        found, wanted = _shape(path, (1,))[0], number_of_outputs(weights) if os.path.isfile(weights) else None
    except (ValueError, OSError) as error:
        return str(error)
    unlike = wanted is not None and found != wanted
    return f"{path} has {found} numbers, the weight has {wanted} outputs" if unlike else ""


def number_of_outputs(path: str) -> int | None:
    """The outputs of a local head, by its header; None of a file that is not an .npy. Raises ValueError and
    OSError."""
    if ending_of(path, ENDINGS) != NPY:
        return None
    shape = _shape(path, (1, 2))
    return shape[0] if len(shape) == 2 else 1


def _shape(path: str, dimensions: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of the floats of a local .npy. Raises ValueError and OSError."""
    with open(path, "rb") as file:
        header = read_header(file, path)
        check_size(header, os.fstat(file.fileno()).st_size, path)
    _check_array(header, dimensions, path)
    return header.shape


def product(layers: Sequence[Layer]) -> Layer:
    """One layer that does the same as several. Raises ValueError if it would be too large."""
    weight, bias = layers[0]
    for next_weight, next_bias in layers[1:]:
        if (size := len(next_weight) * weight.shape[1] * 8) > IN_MEMORY:
            raise ValueError(
                f"weights: layers come to a weight of {size:,} bytes, must be at most {IN_MEMORY:,}"
            )
        weight = next_weight @ weight
        bias = next_weight @ bias + next_bias
    return weight, bias


def outputs(vectors: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """(n, d) floats, (m, d) and (m,) -> (n, m) float64. A row's result does not depend on other rows."""
    with np.errstate(invalid="ignore"):  # rows that are not finite
        found = _dots(vectors, weight[0])[:, None] if len(weight) == 1 else _products(vectors, weight)
        found += bias
        return found


def _products(vectors: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """(n, d) and (m, d) -> (n, m), in chunks of one shape."""
    chunks = [np.empty((0, len(weight)))]
    for start in range(0, len(vectors), CHUNK):
        padded = np.zeros((CHUNK, vectors.shape[1]))
        part = vectors[start : start + CHUNK]
        padded[: len(part)] = part
        chunks.append((padded @ weight.T)[: len(part)])
    return np.concatenate(chunks)


def _dots(vectors: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """(n, d) and (d,) -> (n,) inner products, summed in an order that depends on d alone."""
    found = np.empty(len(vectors))
    for start in range(0, len(vectors), BLOCK):
        rows = vectors[start : start + BLOCK].astype(np.float64)
        rows *= weight
        found[start : start + BLOCK] = rows.sum(1)
    return found


def _array(address: str, dimensions: tuple[int, ...]) -> np.ndarray:
    """The finite numbers of an .npy, float64."""
    mapped = map_array(asset(address))
    _check_array(Header(mapped.dtype, mapped.shape, False, 0), dimensions, address)
    array = np.array(mapped, np.float64)
    if not np.isfinite(array).all():
        raise ValueError(f"{address} has a value that is not finite")
    return array


def _check_array(header: Header, dimensions: tuple[int, ...], address: str) -> None:
    """Raises ValueError for anything else than floats of so many dimensions, or for too many of them."""
    if header.dtype.kind != "f" or len(header.shape) not in dimensions or not all(header.shape):
        expected = "(m, d) or (d,)" if 2 in dimensions else "(m,)"
        raise ValueError(f"{address} must hold {expected} floats, got {header.kind}")
    size = int(np.prod(header.shape)) * header.dtype.itemsize
    if size > IN_MEMORY:
        raise ValueError(f"{address} has {size:,} bytes, must have at most {IN_MEMORY:,}")


def _bias(address: str, length: int) -> np.ndarray:
    """The bias of `length` outputs; zeros without a file."""
    bias = _array(address, (1,)) if address else np.zeros(length)
    if len(bias) != length:
        raise ValueError(f"bias: {address} has {len(bias)} numbers, the weight has {length} outputs")
    return bias


def _chain(tensors: Mapping[str, np.ndarray], address: str) -> Head:
    """The layers of a checkpoint. Raises ValueError for tensors that are not such a chain."""
    places: dict[int, dict[str, np.ndarray]] = {}
    prefixes = set()
    for name, tensor in tensors.items():
        if (found := _LAYER.fullmatch(str(name))) is None:
            raise ValueError(
                f"weights: {address} has {str(name)[:60]!r}, must have NAME.N.weight and NAME.N.bias only"
            )
        _check_tensor(tensor, str(name), address)
        prefixes.add(found[1])
        places.setdefault(int(found[2] or 0), {})[found[3]] = tensor.astype(np.float64)
    layers = [
        (place["weight"], place.get("bias", np.zeros(len(place["weight"]))))
        for _, place in sorted(places.items())
        if "weight" in place
    ]
    shapes = [weight.shape for weight, _ in layers]
    chained = all(before[0] == after[1] for before, after in itertools.pairwise(shapes))
    chained &= all(len(bias) == len(weight) for weight, bias in layers)
    whole = len(layers) == len(places) and len(tensors) in (len(layers), 2 * len(layers))
    if not (layers and chained and whole) or len(prefixes) != 1:
        raise ValueError(f"weights: {address} must be linear layers, each after the other, got {shapes}")
    return Head(layers, sorted(places))


def _check_tensor(tensor: object, name: str, address: str) -> None:
    """Raises ValueError for anything else than finite floats, of two dimensions for a weight, one for a
    bias."""
    if not isinstance(tensor, np.ndarray) or tensor.dtype.kind != "f":
        kind = tensor.dtype if isinstance(tensor, np.ndarray) else type(tensor).__name__
        raise ValueError(f"weights: {address}: {name} must be a tensor of floats, got {kind}")
    if not np.isfinite(tensor).all():
        raise ValueError(f"weights: {address}: {name} has a value that is not finite")
    if tensor.ndim != (2 if name.endswith("weight") else 1) or not tensor.size:
        raise ValueError(
            f"weights: {address}: {name} must be a weight (m, n) or a bias (m,), got {tensor.shape}"
        )
