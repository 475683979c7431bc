"""Files of torch.save and safetensors, from strangers: tensors and nothing else, within bounds.

    load_tensors("weights.pt")                   -> what was saved: an array, or a dictionary with arrays
    why_not_checkpoint("weights.safetensors")    -> "": as far as its beginning tells, it can be read

torch reads its files with weights_only, by an unpickler written in Python that knows tensors alone. What a
file claims is compared with its bytes before: a small archive can unpack to many GB, and a tensor can repeat
one number a billion times.
"""

import json
import os
import zipfile
import zlib
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from pipeline.assets import IN_MEMORY
from pipeline.bounds import USUAL
from pipeline.npy import PACKINGS

NEXT = "copy the file again, or name another"
PICKLE = b"\x80"  # how a pickle of protocol 2 or later begins
BEGINNING = 24  # bytes that are told of a file that is none
ZIP = b"PK\x03\x04"  # how a zip begins
NAMES = 4096  # bytes in which the pickle of an array has named numpy
LONGEST_HEADER = 16 << 20  # bytes of a safetensors' header: 100,000 tensors
ENCRYPTED = 1  # the flag of a zip's member
SAFETENSORS = ".safetensors"


def array_pickle(local: str, address: str) -> bytes | None:
    """The pickle of a numpy array, of which a file of torch.save consists if it was given one; None if the
    file holds tensors. Raises ValueError if the archive is garbled, or claims more than its bytes can be."""
    with open(local, "rb") as file:
        start = file.read(NAMES)
        if start.startswith(PICKLE):  # not in a zip: pickle.dump, or torch before 1.6
            return start + file.read(IN_MEMORY) if _is_array(start) else None
    try:
        with zipfile.ZipFile(local) as archive:
            infos = archive.infolist()
            _check_archive(infos, os.path.getsize(local), address)
            info = next((info for info in infos if info.filename.endswith("/data.pkl")), None)
            if info is None:
                raise ValueError(f"{address} is not a file of torch.save: its zip has no data.pkl")
            with archive.open(info) as file:
                start = file.read(NAMES)
                if not _is_array(start):
                    return None
                if info.file_size > IN_MEMORY:
                    raise ValueError(
                        f"{address} has a pickle of {info.file_size:,} bytes, must have at most {IN_MEMORY:,}"
                    )
                return start + file.read(IN_MEMORY)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise ValueError(f"{address} is not a file of torch.save: {error}") from None


def _is_array(start: bytes) -> bool:
    """Whether a pickle names numpy and not torch, by its first NAMES bytes."""
    return b"numpy" in start and b"torch" not in start


def _check_archive(infos: list[zipfile.ZipInfo], size: int, address: str) -> None:
    """Raises ValueError for an archive that is encrypted, unpacks to far more than its bytes, or is packed as
    torch packs nothing."""
    if any(info.flag_bits & ENCRYPTED for info in infos):
        raise ValueError(f"{address} is encrypted, must not be")
    if other := {info.compress_type for info in infos} - set(PACKINGS):
        raise ValueError(f"{address} is packed by method {min(other)}, must be stored or deflated")
    unpacked = sum(info.file_size for info in infos)
    if unpacked > USUAL.most_unpacked(size):
        raise ValueError(
            f"{address} says that its {size:,} bytes unpack to {unpacked:,}, must be at most "
            f"{USUAL.most_unpacked(size):,}"
        )


def load_tensors(local: str, address: str) -> Any:
    """What torch.save wrote, with arrays for tensors (float32 for bfloat16): one, or a dictionary by name.
    Raises ValueError."""
    import torch

    try:
        saved = torch.load(local, map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001 - garbage makes it raise nearly anything
        text = " ".join(str(error).split())[:200]
        raise ValueError(f"{address} is not a file of tensors, as torch.save writes it: {text}") from None
    most = USUAL.most_unpacked(os.path.getsize(local))
    if isinstance(saved, dict):
        return {name: _array(tensor, f"{address}: {name!s:.60}", most) for name, tensor in saved.items()}
    return _array(saved, address, most)


def _array(saved: Any, where: str, most: int) -> Any:
    """A tensor as an array; anything else stays. Raises ValueError for one that is larger than its file."""
    import torch

    if not isinstance(saved, torch.Tensor):
        return saved
    if saved.layout != torch.strided or saved.is_quantized or saved.is_meta:
        raise ValueError(f"{where} must be a plain tensor, got {saved.layout}, {saved.dtype}, {saved.device}")
    if saved.numel() * saved.element_size() > most:
        raise ValueError(f"{where} repeats its numbers to {tuple(saved.shape)}, more than its file holds")
    try:
        return (saved.detach().float() if saved.dtype == torch.bfloat16 else saved.detach()).numpy()
    except (TypeError, RuntimeError) as error:
        raise ValueError(f"{where} cannot be read: {error}") from None


def why_not_checkpoint(path: str) -> str:
    """Why a local file is no checkpoint, as far as its beginning tells, and the next step; empty if it may be
    one."""
    try:
        fault = _fault(path)
    except (ValueError, OSError) as error:
        fault = str(error)
    return f"{fault}; {NEXT}" if fault else ""


def _fault(path: str) -> str:
    """What is wrong with a checkpoint, as far as its beginning tells. Raises ValueError and OSError."""
    if path.endswith(SAFETENSORS):
        return "" if read_names(path) else f"{path} holds no tensor"
    if zipfile.is_zipfile(path):
        array_pickle(path, path)
        return ""
    with open(path, "rb") as file:
        start = file.read(BEGINNING)
    if not start:
        return f"{path} is empty, must be a file of torch.save or safetensors"
    if start.startswith(ZIP):
        return f"{path} was cut: it begins as a file of torch.save does, and its end is missing"
    return "" if start.startswith(PICKLE) else f"{path} is not a file of torch.save: it begins with {start!r}"


def load_safetensors(path: str) -> dict[str, np.ndarray]:
    """The tensors of a .safetensors, by name. Raises ValueError."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    read_names(path)
    try:
        return dict(load_file(path))
    except (SafetensorError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None


def read_names(path: str) -> Mapping[str, Any]:
    """The header of a .safetensors: what it says of each tensor, by name. Raises ValueError if it is garbled,
    names a tensor twice, or claims more bytes than the file has.

    Format: 8 bytes of length, that many bytes of JSON, and the tensors' bytes."""
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or not 2 <= length <= min(LONGEST_HEADER, size - 8):
            raise ValueError(
                f"{path} is not a .safetensors: its header has {length:,} bytes, must have 2 to "
                f"{max(2, min(LONGEST_HEADER, size - 8)):,}"
            )
        raw = file.read(length)
    try:
        header = json.loads(raw, object_pairs_hook=_unique)
        tensors = {name: said for name, said in header.items() if name != "__metadata__"}
        ends = [said["data_offsets"][1] for said in tensors.values()]
    except ValueError as error:
        raise ValueError(f"{path} has a garbled header: {error}") from None
    except (AttributeError, TypeError, KeyError, IndexError, RecursionError):
        raise ValueError(f"{path} has a header that is none of a .safetensors") from None
    if not all(type(end) is int and 0 <= end <= size - 8 - length for end in ends):
        raise ValueError(
            f"{path} has {size - 8 - length:,} bytes of tensors, its header says more: it was cut"
        )
    return tensors


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON. Raises ValueError for a name that comes twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the name {twice[:60]!r} comes twice")
    return found
