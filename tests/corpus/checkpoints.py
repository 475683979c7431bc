"""Checkpoints and files of vectors: torch, safetensors, npz, parquet."""

import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa

from tests.corpus.kind import Build, Kind, Outcome, reads, refused
from tests.corpus.pool import OddPool
from tests.corpus.tables import WIDTH, as_datacomp, embeddings, npy, npz, parquet

HEAD = {"weight": np.ones((1, WIDTH), "f4"), "bias": np.zeros(1, "f4")}


def weights(data: bytes | Callable[[], bytes], name: str = "head.safetensors") -> Build:
    """A recipe whose aesthetic head is this file."""
    return _read_by("head", "aesthetic.AestheticScore", "weights", data, name)


def vectors(data: bytes | Callable[[], bytes], name: str, **keys: Any) -> Build:
    """A recipe whose NormSim has this file as its proxy."""
    return _read_by("near", "normsim.NormSim", "proxy", data, name, **keys)


def _read_by(
    operator: str, use: str, field: str, data: bytes | Callable[[], bytes], name: str, **keys: Any
) -> Build:
    """A recipe with an operator over embeddings that reads this file."""

    def build(pool: OddPool) -> None:
        as_datacomp(pool, arrays=True)
        path = pool.beside(name, data if isinstance(data, bytes) else data())
        embedding = "datacomp.l14_image_embedding"
        pool.compute[operator] = {"use": use, "image_embedding": embedding, field: str(path), **keys}

    return build


def safetensors(tensors: dict[str, np.ndarray]) -> bytes:
    """A .safetensors."""
    from safetensors.numpy import save

    return save(tensors)


def header(said: Any, size: int | None = None, data: bytes = b"") -> bytes:
    """A .safetensors with this header, which says that it has `size` bytes."""
    text = said if isinstance(said, bytes) else json.dumps(said).encode()
    return (len(text) if size is None else size).to_bytes(8, "little") + text + data


def saved(name: str, data: bytes, flags: int = 0, packing: int = zipfile.ZIP_STORED) -> bytes:
    """A zip with one member."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", packing) as archive:
        archive.writestr(name, data)
    made = bytearray(out.getvalue())
    made[6] |= flags
    made[made.index(b"PK\x01\x02") + 8] |= flags
    return bytes(made)


class Evil:
    """Ends the process where it is unpickled, with a trace."""

    def __reduce__(self) -> Any:
        return os.abort, ()


TENSOR = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
WHOLE = safetensors(HEAD)
BROKEN = "head cannot be set up"


def at_setup(*says: str) -> Outcome:
    """Only loading the file shows it: the pass stops."""
    return Outcome(3, says, None)


KINDS = [
    Kind("a head", weights(WHOLE), reads(0)),
    Kind(
        "a header of 10^18 bytes",
        weights(header(b"{}", 1 << 60)),
        refused("compute.head.weights", "is not a .safetensors"),
    ),
    Kind("a header that is cut", weights(WHOLE[:20]), refused("is not a .safetensors")),
    Kind("an empty checkpoint", weights(b""), refused("is not a .safetensors")),
    Kind("a header that is no JSON", weights(header(b"{,}")), refused("has a garbled header")),
    Kind("a header of nested lists", weights(header(b"[" * 100_000)), refused("head.safetensors")),
    Kind(
        "a name that comes twice",
        weights(header(b'{"bias": %b, "bias": %b}' % ((json.dumps(TENSOR).encode(),) * 2), data=bytes(4))),
        refused("'bias' comes twice"),
    ),
    Kind("tensors that are cut", weights(WHOLE[:-4]), refused("its header says more: it was cut")),
    Kind("a header that is a list", weights(header([1])), refused("none of a .safetensors")),
    Kind(
        "an unknown dtype",
        weights(header({"bias": {**TENSOR, "dtype": "X9"}}, data=bytes(4))),
        at_setup(BROKEN),
    ),
    Kind(
        "offsets that do not fit",
        weights(header({"bias": {**TENSOR, "shape": [5]}}, data=bytes(4))),
        at_setup(BROKEN),
    ),
    Kind(
        "NaN",
        weights(safetensors({**HEAD, "weight": HEAD["weight"] * np.nan})),
        at_setup("weight has a value that is not finite"),
    ),
    Kind(
        "whole numbers",
        weights(safetensors({**HEAD, "bias": np.zeros(1, int)})),
        at_setup("bias must be a tensor of floats, got int64"),
    ),
    Kind(
        "a tensor of three dimensions",
        weights(safetensors({**HEAD, "weight": np.ones((1, 1, WIDTH), "f4")})),
        at_setup("must be a weight (m, n)"),
    ),
    Kind(
        "a bias of another length",
        weights(safetensors({**HEAD, "bias": np.zeros(2, "f4")})),
        at_setup("must be linear layers"),
    ),
    Kind(
        "other names",
        weights(safetensors({"\x1b[2J": np.zeros(1, "f4")})),
        at_setup("must have NAME.N.weight and NAME.N.bias only"),
    ),
    Kind(
        "a .pth that is a pickle",
        weights(pickle.dumps(Evil()), "head.pth"),
        at_setup("is not a file of tensors"),
    ),
    Kind(
        "a .pth whose pickle runs something",
        weights(saved("head/data.pkl", pickle.dumps(Evil())), "head.pth"),
        at_setup("is not a file of tensors"),
    ),
    Kind(
        "a .pth that is cut",
        weights(saved("head/data.pkl", bytes(9000))[:5000], "head.pth"),
        refused("head.pth was cut", "copy the file again"),
    ),
    Kind(
        "a .pth that is encrypted",
        weights(saved("head/data.pkl", b"x", 1), "head.pth"),
        refused("is encrypted"),
    ),
    Kind(
        "a .pth packed as torch packs none",
        weights(saved("head/data.pkl", b"x", packing=zipfile.ZIP_LZMA), "head.pth"),
        refused("is packed by method 14, must be stored or deflated"),
    ),
    Kind(
        "a .pth of zeros, packed",
        weights(lambda: saved("head/data/0", bytes(400 << 20), packing=zipfile.ZIP_DEFLATED), "head.pth"),
        refused("unpack to 419,430,400"),
    ),
    Kind(
        "a .pth without a pickle",
        weights(saved("readme", b"x"), "head.pth"),
        refused("its zip has no data.pkl"),
    ),
    Kind("an empty .pth", weights(b"", "head.pth"), refused("is empty")),
    Kind(
        "a .pth that Git LFS has not fetched",
        weights(b"version https://git-lfs.github.com/spec/v1", "head.pth"),
        refused("is not a file of torch.save: it begins with b'version https://git-lfs.'"),
    ),
    Kind("a .safetensors of nothing", weights(header(b"{}")), refused("holds no tensor")),
    Kind("vectors", vectors(npy(embeddings(5)), "v.npy"), reads(0)),
    Kind(
        "vectors of whole numbers",
        vectors(npy(np.ones((5, WIDTH), int)), "v.npy"),
        refused("compute.near.proxy", "must hold (m, d) floats, got int64"),
    ),
    Kind(
        "vectors in one dimension",
        vectors(npy(np.ones(5)), "v.npy"),
        refused("must hold (m, d) floats, got float64 (5,)"),
    ),
    Kind("no vectors", vectors(npy(np.ones((0, WIDTH))), "v.npy"), refused("must hold (m, d) floats")),
    Kind(
        "vectors with NaN",
        vectors(npy(np.full((5, WIDTH), np.nan)), "v.npy"),
        at_setup("not finite in row 0"),
    ),
    Kind(
        "vectors of another width",
        vectors(npy(np.ones((5, 3))), "v.npy"),
        Outcome(3, ("numbers per row",), None),
    ),
    Kind("vectors that are cut", vectors(npy(embeddings(5))[:-2], "v.npy"), refused("it was cut")),
    Kind(
        "several arrays",
        vectors(npz(a=embeddings(5), b=embeddings(5)), "v.npz"),
        refused("array must name one of a, b"),
    ),
    Kind("an npz that is a text", vectors(b"hello", "v.npz"), refused("is not a whole .npz")),
    Kind(
        "an npz without arrays",
        vectors(saved("readme", b"x"), "v.npz"),
        refused("array must name one of none"),
    ),
    Kind("an npz of objects", vectors(npz(a=np.array([[{}]], object)), "v.npz"), refused("Python objects")),
    Kind(
        "an npz that unpacks to 400 MB",
        vectors(
            lambda: saved("a.npy", npy(np.zeros((100_000, 1000), "f4")), packing=zipfile.ZIP_DEFLATED),
            "v.npz",
        ),
        refused("unpack to 400,000,128"),
    ),
    Kind(
        "a parquet of lists",
        vectors(parquet({"v": embeddings(5).astype("f4").tolist()}), "v.parquet"),
        reads(0),
    ),
    Kind(
        "a parquet of texts",
        vectors(parquet({"v": ["a"]}), "v.parquet"),
        at_setup("v must hold (m, d) floats"),
    ),
    Kind(
        "a parquet of several widths",
        vectors(parquet({"v": [[1.0], [1.0, 2.0]]}), "v.parquet"),
        at_setup("vectors of one length"),
    ),
    Kind(
        "a parquet with a null inside",
        vectors(parquet({"v": pa.array([[1.0, None]])}), "v.parquet"),
        at_setup("some are null"),
    ),
    Kind(
        "a parquet of two columns of one name",
        vectors(
            parquet(pa.Table.from_arrays([pa.array([[1.0]])] * 2, names=["v", "v"])), "v.parquet", array="v"
        ),
        refused("several arrays called 'v'"),
    ),
    Kind(
        "a pickled array that claims more",
        vectors(
            saved(
                "a/data.pkl", pickle.dumps(np.zeros((7, 9), "f4"), 4).replace(b"K\x07K\x09", b"K\xffK\xff")
            ),
            "v.pt",
        ),
        at_setup("says float32 (255, 255) and holds 252 bytes"),
    ),
    Kind(
        "a pickle that calls a function",
        vectors(saved("a/data.pkl", b"\x80\x04\x8c\x05numpy\x8c\x04load\x93\x8c\x01x\x85R."), "v.pt"),
        at_setup("it calls 'numpy.load'"),
    ),
    Kind("a pickled array", vectors(saved("a/data.pkl", pickle.dumps(embeddings(5), 4)), "v.pt"), reads(0)),
]
