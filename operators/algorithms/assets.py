"""Files that published methods come with: found at a path or a URL, and what their authors say they hold.

    asset("lid.176.bin")                                    -> the same path, checked
    asset("https://.../imagenet21k_wordnet_ids.txt")        -> where it was downloaded to, once, and checked

A file with the name of a published one must have its sha256; one's own files have other names.

Source: DataComp's `baselines/utils.py` for names, addresses and digests.
"""

import fcntl
import hashlib
import io
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import fsspec
import numpy as np

RELEASE = "https://github.com/sagadre/datacomp_baseline_assets/releases/download/v0.1.0-alpha/"
FASTTEXT = "https://dl.fbaipublicfiles.com/fasttext/supervised-models/lid.176.bin"
PUBLISHED = {
    FASTTEXT: "7e69ec5451bc261cc7844e49e4792a85d7f09c06789ec800fc4a44aec362764e",
    f"{RELEASE}imagenet21k_wordnet_ids.txt": "66362bdedf36d933382edca5493fc562dcc17128ce36403c9e730a75f48cb2f2",
    f"{RELEASE}in1k_clip_vit_l14_0.pt": "304990fd492f40ba90072b80af78d6e8edcab9d042476ef513e03441cf53743b",
    f"{RELEASE}in1k_clip_vit_l14_1.pt": "72f008e6aa3bfb54174fa322963215337f843fc90fd642a9dccc815dd9e7ee76",
    f"{RELEASE}in1k_clip_vit_l14_2.pt": "83c3cc6503b8a50a22cac7023ca6cd61b130ab9725db2a7519f1bec5cabf5493",
    f"{RELEASE}in1k_clip_vit_l14_3.pt": "83faa289f847799ddcd438e5b74df1cb5973c345674896d10ba31ea48bc63804",
    f"{RELEASE}in1k_clip_vit_l14_4.pt": "067a45f4a140a93371876510a2fd9198a89ac1d194ae4063a51b45a6da69cadf",
    f"{RELEASE}small_centroids_l14.pt": "23c66a05e49ad77283c1e2b33355c7eb088ac332a944c97ff85d5dfd48a5b251",
    f"{RELEASE}medium_centroids_l14.pt": "028b1721b1d0f139c565b6b0ac99f8a1756f4bae89c36b0ec6d1c6ea9b6f112d",
    f"{RELEASE}large_centroids_l14.pt": "04eeab1069d3540c246cf7ce69323147351a474017fc472e4c50a018ca32240b",
    f"{RELEASE}xlarge_centroids_l14.pt": "3f62e5f8ae3a715ce84e422846fcfce1536d184455ea234790c4a6465c4c6726",
}
ADDRESSES = {url.rsplit("/", 1)[1]: url for url in PUBLISHED}  # by file name
CACHE = "~/.cache/winnow"


def asset(path: str) -> str:
    """The local path of a file, downloaded if `path` is a URL. Raises FileNotFoundError, which says where a
    published file is to be had, and ValueError where it holds something else."""
    name = os.path.basename(urlsplit(path).path)
    local = _downloaded(path, name) if "://" in path else os.path.expanduser(path)
    address = ADDRESSES.get(name)
    if not os.path.isfile(local):
        where = (
            f"; it is published at {address}: download it, or give this URL as the path" if address else ""
        )
        raise FileNotFoundError(f"{path} does not exist{where}")
    if address and (found := _sha256(local)) != PUBLISHED[address]:
        if "://" in path:
            os.unlink(local)  # so that the next try downloads it again
        raise ValueError(
            f"{local} has the sha256 {found}, the published {name} has {PUBLISHED[address]}: download it again, or "
            "give a file of your own another name"
        )
    return local


def _downloaded(url: str, name: str) -> str:
    """Where a URL's file lies on this machine; the first process to want it fetches it, the others wait."""
    folder = Path(CACHE).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{hashlib.sha256(url.encode()).hexdigest()[:16]}-{name}"
    with open(f"{path}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            with fsspec.open(url, "rb") as source, open(f"{path}.tmp", "wb") as file:
                while chunk := source.read(1 << 22):
                    file.write(chunk)
            os.replace(f"{path}.tmp", path)
    return str(path)


def _sha256(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_vectors(path: str) -> np.ndarray:
    """(n, d) float32 of an .npy, or of a .pt that holds an array, a tensor, or a mapping with `image_features`.
    Nothing in it runs: arrays and tensors are all that is let in. Raises ValueError, OSError."""
    local = asset(path)
    found = np.load(local, allow_pickle=False) if local.endswith(".npy") else _from_torch(local)
    if getattr(found, "ndim", 0) != 2 or found.dtype.kind != "f":
        raise ValueError(f"{path} must hold rows of floats, (n, d), got {type(found).__name__}")
    vectors: np.ndarray = found.astype(np.float32)
    return vectors


def _from_torch(path: str) -> np.ndarray:
    """What torch.save wrote: tensors, which torch reads by itself, or DataComp's centroids, a numpy array."""
    import torch

    with zipfile.ZipFile(path) as archive:
        name = next((n for n in archive.namelist() if n.endswith("/data.pkl")), None)
        if name is None:
            raise ValueError(f"{path} is no file of torch.save")
        with archive.open(name) as file:
            if (
                file.read(2) == b"\x80\x04"
            ):  # torch itself writes protocol 2, and its safe reader knows no other
                return _Array(io.BytesIO(archive.read(name))).load()  # type: ignore[no-any-return]
    found = torch.load(path, map_location="cpu", weights_only=True)
    if isinstance(found, dict) and "image_features" in found:
        found = found["image_features"]
    return found.float().numpy() if isinstance(found, torch.Tensor) else found


class _Array(pickle.Unpickler):
    """Builds arrays of numbers and nothing else: no other name that a file gives is looked up."""

    def find_class(self, module: str, name: str) -> Any:
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "_reconstruct":
            return np._core.multiarray._reconstruct  # type: ignore[attr-defined]
        if module == "numpy" and name in ("ndarray", "dtype"):
            return getattr(np, name)
        raise ValueError(f"a file of vectors must hold an array, got {module}.{name}")
