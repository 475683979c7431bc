"""Files that operators under contract read, made beside a tiny checkpoint."""

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from tests.support.samples import uid
from tests.support.tiny_clip import TinyClip
from tests.support.tiny_wordnet import write_wordnet

WIDTH = 32  # numbers of an embedding
ROWS = 37  # more than one chunk of a model, and no multiple of one


def lists(clip: TinyClip) -> dict[str, str]:
    """Two metadata lists, beside the checkpoint."""
    path = Path(clip.config).with_name("entries.txt")
    path.write_text("dog\nbeach\na\n狗\n", encoding="utf-8")
    return {"en": str(path), "other": str(path)}


def hashes(clip: TinyClip) -> str:
    """A list of two PDQ hashes, beside the checkpoint."""
    path = Path(clip.config).with_name("hashes.txt")
    path.write_text(f"{'00' * 32}\n{'0f' * 32}\n")
    return str(path)


def head(clip: TinyClip) -> str:
    """A linear head, beside the checkpoint."""
    path = Path(clip.config).with_name("head.safetensors")
    save_file({"weight": torch.ones(1, WIDTH), "bias": torch.ones(1)}, path)
    return str(path)


def two_vectors(clip: TinyClip) -> str:
    """Two vectors that a prompt was tuned to, beside the checkpoint."""
    path = Path(clip.config).with_name("two_vectors.npy")
    np.save(path, np.random.default_rng(1).standard_normal((2, WIDTH)).astype(np.float32))
    return str(path)


def proxies(clip: TinyClip) -> str:
    """Embeddings of a target, beside the checkpoint."""
    path = Path(clip.config).with_name("proxies.npy")
    np.save(path, np.random.default_rng(0).standard_normal((5, WIDTH)).astype(np.float16))
    return str(path)


def subset(clip: TinyClip) -> str:
    """A subset file that asks for every other sample, beside the checkpoint."""
    path = Path(clip.config).with_name("subset.npy")
    rows = [divmod(int(uid("s", row), 16), 2**64) for row in range(0, ROWS, 2)]
    np.save(path, np.sort(np.array(rows, "u8,u8")))
    return str(path)


def clusters(clip: TinyClip) -> dict[str, str]:
    """Centroids, and embeddings near two of them, beside the checkpoint."""
    folder, axes = Path(clip.config).parent, np.eye(WIDTH, dtype=np.float32)
    np.save(folder / "centroids.npy", axes[:7])
    np.save(folder / "targets.npy", axes[[1, 1, 4]])
    return {"centroids": str(folder / "centroids.npy"), "targets": str(folder / "targets.npy")}


def entities(clip: TinyClip) -> dict[str, str]:
    """A WordNet, and ids of its dog and its beach, beside the checkpoint."""
    folder = write_wordnet(Path(clip.config).with_name("wordnet"))
    (folder / "ids.txt").write_text("n02084071\nn09217230\n")
    return {"wordnet": str(folder), "ids": str(folder / "ids.txt")}
