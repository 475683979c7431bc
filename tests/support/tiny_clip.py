"""A CLIP with random weights that is small enough for every test."""

from typing import NamedTuple

TINY = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 64, "layers": 2, "width": 64, "head_width": 32, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2},
}


class TinyClip(NamedTuple):
    """A CLIP with random weights: an open_clip config and a checkpoint."""

    config: str
    weights: str
