"""The last block of an image tower, computed for its class token alone, gives open_clip's embeddings."""

import open_clip
import pytest
import torch
from torch.nn.functional import normalize

from operators.algorithms.clip.pooled_token import only_class_token
from operators.algorithms.threads import torch_on_one_thread

VISION = {"image_size": 32, "layers": 3, "width": 64, "head_width": 16, "patch_size": 8}


def net(**vision) -> open_clip.CLIP:
    """A small CLIP with random weights; `vision`: fields of its image tower."""
    torch.manual_seed(5)
    return open_clip.CLIP(embed_dim=16, vision_cfg={**VISION, **vision}, text_cfg={"layers": 1}).eval()


def pictures(count: int) -> torch.Tensor:
    """Random ones, as a network sees them."""
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    "vision",
    [
        {},
        {"ls_init_value": 0.5},
        {"final_ln_after_pool": True},
        {"no_ln_pre": True, "pos_embed_type": "sin_cos_2d"},
    ],
)
def test_the_embeddings_are_open_clips(vision):
    model, batch = net(**vision), pictures(16)
    with torch.inference_mode():
        expected = normalize(model.encode_image(batch), dim=-1)
        assert only_class_token(model.visual)
        assert torch.allclose(normalize(model.encode_image(batch), dim=-1), expected, rtol=0, atol=1e-6)


def test_the_last_block_computes_one_token_only():
    model = net()
    seen = []
    model.visual.transformer.resblocks[-1].mlp.register_forward_hook(lambda *call: seen.append(call[2].shape))
    only_class_token(model.visual)
    with torch.inference_mode():
        model.encode_image(pictures(4))
    assert seen == [(4, 1, 64)]


def test_a_picture_has_the_same_embedding_whatever_is_beside_it():
    torch_on_one_thread()  # as in every worker; two would split the sums of few rows elsewhere
    model, batch = net(), pictures(16)
    only_class_token(model.visual)
    with torch.inference_mode():
        assert torch.equal(model.encode_image(batch)[3:], model.encode_image(batch.roll(-3, 0))[:13])


@pytest.mark.parametrize(
    "vision",
    [
        {"pool_type": "avg"},
        {"attentional_pool": True},
        {"output_tokens": True},
        {"qk_norm": True, "block_type": "custom"},
    ],
)
def test_towers_that_need_every_token_stay_as_they_are(vision):
    model = net(**vision)
    assert not only_class_token(model.visual)
    assert "forward" not in vars(model.visual.transformer.resblocks[-1])


def test_checkpoints_still_fit():
    model = net()
    before = model.state_dict().keys()
    assert only_class_token(model.visual)
    assert model.state_dict().keys() == before


def test_a_network_that_is_no_vision_transformer_stays_as_it_is():
    assert not only_class_token(net(layers=[1, 1, 1, 1], width=16, head_width=64).visual)
