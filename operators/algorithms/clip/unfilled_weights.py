"""A network that is made to be loaded: without random weights, which would all be written over.

    with unfilled():
        net = open_clip.create_model(name, pretrained=checkpoint)

Drawing 150 M weights twice (torch's own start values, then those of the network) takes nine tenths of a
second on one core for ViT-B-32, three quarters of loading it. In the block such weights hold whatever their
memory held. So every one of them must be loaded after: open_clip does that, or raises, if it has a state dict
of a model; not if it finds no weights, and not of a big_vision checkpoint (.npz), which it reads by name.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

DRAWN_IN_PLACE = {
    *("normal_", "uniform_", "trunc_normal_", "orthogonal_"),
    *("kaiming_normal_", "kaiming_uniform_", "xavier_normal_", "xavier_uniform_"),
}  # of torch.nn.init, and methods of tensors
DRAWN = {"rand", "randn"}
BY_NAME = (".npz", ".npy")  # endings of checkpoints that open_clip reads by name


def unfilled() -> AbstractContextManager[Any]:
    """While the block runs, this thread draws no random tensors of floats."""
    import torch
    from torch.overrides import TorchFunctionMode

    class Unfilled(TorchFunctionMode):
        """Called by torch for each of its functions."""

        def __torch_function__(
            self,
            function: Callable[..., Any],
            types: Sequence[Any],
            args: Sequence[Any] = (),
            kwargs: Mapping[str, Any] | None = None,
        ) -> Any:
            name, named = getattr(function, "__name__", ""), dict(kwargs or {})
            if name in DRAWN_IN_PLACE:
                return args[0] if args else named["tensor"]
            return (torch.empty if name in DRAWN else function)(*args, **named)

    return Unfilled()
