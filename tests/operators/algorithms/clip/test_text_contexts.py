"""Captions that end early need less of a causal text tower's context, and its last block for one token."""

import numpy as np
import open_clip
import pytest
import torch

from operators.algorithms.clip.model import ClipModel
from operators.algorithms.clip.text_contexts import ROWS, TextContexts
from pipeline.operator import Device
from tests.support.tiny_clip import TinyClip

START, END, A_WORD = 49406, 49407, 320


def net(**text) -> open_clip.CLIP:
    """A CLIP with 12 layers of width 128 and random weights; `text`: fields of its text tower."""
    torch.manual_seed(5)
    vision = {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16}
    tower = {"width": 128, "heads": 2, "layers": 12, **text}
    cls = open_clip.CustomTextCLIP if tower.pop("custom", False) else open_clip.CLIP
    return cls(embed_dim=64, vision_cfg=vision, text_cfg=tower).eval()


def tokens_of(*lengths: int, context: int = 77) -> torch.Tensor:
    """Captions of so many tokens, with their start and end, which differ from each other."""
    tokens = torch.zeros(len(lengths), context, dtype=torch.long)
    for row, length in enumerate(lengths):
        tokens[row, :length] = A_WORD + torch.arange(length) * (row + 1)
        tokens[row, 0], tokens[row, length - 1] = START, END
    return tokens


def test_a_caption_gets_the_next_multiple_of_eight():
    groups = TextContexts(net()).groups(tokens_of(3, 8, 9, 64, 72, 73, 77))
    assert groups == [(77, [5, 6]), (72, [4]), (64, [3]), (16, [2]), (8, [0, 1])]


def test_rows_are_in_groups_of_four():
    groups = TextContexts(net()).groups(tokens_of(*[5] * 9))
    assert groups == [(8, [0, 1, 2, 3]), (8, [4, 5, 6, 7]), (8, [8])]


def test_a_caption_that_holds_an_end_token_ends_there():
    """open_clip reads the first of the highest tokens."""
    tokens = tokens_of(40)
    tokens[0, 9] = END
    assert TextContexts(net()).groups(tokens) == [(16, [0])]


@pytest.mark.parametrize("custom", [False, True])
@pytest.mark.parametrize("pool", [{}, {"pool_type": "eos", "eos_id": 7}])
def test_the_embeddings_are_open_clips(custom, pool):
    model = net(custom=custom, **pool)
    tokens = tokens_of(*range(3, 78))
    if pool:
        tokens[tokens == END] = 7  # no longer the highest
        tokens[4, 70] = 7  # behind the first of them: without effect
    contexts = TextContexts(model)
    groups = contexts.groups(tokens)
    assert {length for length, _ in groups} == {*range(8, 77, 8), 77}
    with torch.inference_mode():
        expected = torch.nn.functional.normalize(model.encode_text(tokens), dim=-1)
        for length, rows in groups:
            padded = [*rows, *[0] * (ROWS - len(rows))]
            found = contexts.encode(tokens[padded, :length])[: len(rows)]
            found = torch.nn.functional.normalize(found, dim=-1)
            assert torch.allclose(found, expected[rows], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "text",
    [
        {"no_causal_mask": True},
        {"pool_type": "last"},
        {"pool_type": "first", "custom": True},
        {"custom": True, "embed_cls": True, "pad_id": 0},
    ],
)
def test_a_tower_that_sees_all_positions_keeps_them(text):
    contexts = TextContexts(net(**text))
    assert contexts.groups(tokens_of(3, 77)) == [(77, [0, 1])]


def test_a_context_shorter_than_a_step():
    contexts = TextContexts(net(context_length=7))
    assert contexts.groups(tokens_of(3, context=7)) == [(7, [0])]


def test_captions_come_back_in_their_order_whatever_is_beside_them(tiny_clip: TinyClip):
    clip = ClipModel(tiny_clip.config, tiny_clip.weights, Device(threads=2))
    captions = [" ".join(["dog", "cat"] * (words // 2) + ["x"]) for words in (0, 40, 8, 70, 20, 200, 2) * 4]
    found, cut = clip.texts(captions)
    alone = np.concatenate([clip.texts([caption])[0] for caption in captions[:7]])
    assert np.array_equal(found, np.concatenate([alone] * 4))
    assert cut == [False, False, False, False, False, True, False] * 4
    with torch.inference_mode():
        expected = clip.net.encode_text(clip.captions(captions)[0]).numpy()
    assert np.allclose(found, expected, rtol=0, atol=1e-6)
