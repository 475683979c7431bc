"""The network of an open_clip model, in the precision that is asked for.

precision = settled("auto", "cuda")                          # bfloat16
net, transform = network("ViT-L-14", "openai", "cuda", precision)
"""

from contextlib import nullcontext
from typing import Any, Literal

from operators.algorithms.clip.files import naming
from operators.algorithms.clip.pooled_token import only_class_token
from operators.algorithms.clip.unfilled_weights import BY_NAME, unfilled

Settled = Literal["float32", "bfloat16"]
Precision = Literal["auto", "float32", "bfloat16"]
OPEN_CLIP = {"float32": "fp32", "bfloat16": "bf16"}  # its names of them


def settled(precision: Precision, device: str) -> Settled:
    """`auto` on a device: bfloat16 on a GPU, float32 on a CPU."""
    if precision == "auto":
        return "bfloat16" if device == "cuda" else "float32"
    return precision


def network(
    model: str, pretrained: str, device: str, precision: Settled, text_only: bool = False
) -> tuple[Any, Any]:
    """An open_clip model and its transform, from a name and weights that open_clip knows. `text_only`: its
    image tower is dropped once it is read. Raises ValueError for weights of another model, and for one that
    open_clip does not make in this precision."""
    import open_clip
    import torch

    if precision == "float32":
        torch.backends.cudnn.allow_tf32 = False  # else the first layer of an image tower has 10 bits
    where = "cpu" if text_only else device
    with naming(model, pretrained), nullcontext() if pretrained.endswith(BY_NAME) else unfilled():
        options = {"pretrained": pretrained or None, "require_pretrained": True}
        try:
            net, _, transform = open_clip.create_model_and_transforms(
                model, device=where, precision=OPEN_CLIP[precision], **options
            )
        except AttributeError as error:
            if precision != "bfloat16" or "'Linear' object" not in str(error):
                raise
            # its `convert_weights_to_lp` takes every projection of a text tower for a matrix
            raise ValueError(
                f"precision: open_clip does not make {model} in bfloat16; set precision: float32"
            ) from error
    if text_only:
        del net.visual
        net.to(device)
    else:
        only_class_token(net.visual)
    _convert_all(net, getattr(torch, precision))
    return net.eval(), transform


def _convert_all(net: Any, dtype: Any) -> None:
    """Give a CoCa's parameters a precision, all but those of layers that compute in float32. open_clip leaves
    the queries of its pooler and its text tower's class token in float32, and then fails in bfloat16."""
    from open_clip import CoCa
    from open_clip.transformer import LayerNormFp32

    for module in net.modules() if isinstance(net, CoCa) else ():
        for parameter in module.parameters(recurse=False):
            if not isinstance(module, LayerNormFp32):
                parameter.data = parameter.data.to(dtype)
