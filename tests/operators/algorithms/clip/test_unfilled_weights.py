"""Networks that are made without random weights."""

import json
from pathlib import Path

import open_clip
import pytest
import torch
from torch import nn

from operators.algorithms.clip.model import ClipModel
from operators.algorithms.clip.unfilled_weights import unfilled
from pipeline.operator import Device


class Small(nn.Module):
    """A weight of each kind: drawn by torch, drawn and scaled, constant, and a buffer of numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 4)
        nn.init.trunc_normal_(self.linear.weight, std=0.02)
        nn.init.constant_(self.linear.bias, 7.0)
        self.scaled = nn.Parameter(0.5 * torch.randn(2, 3))
        self.norm = nn.LayerNorm(3)
        self.register_buffer("places", torch.arange(5))
        self.register_buffer("mask", torch.full((2, 2), -1.0).triu_(1), persistent=False)


def test_nothing_is_drawn_and_constants_are_as_they_were():
    before = torch.get_rng_state()
    with unfilled():
        net = Small()
    assert torch.equal(torch.get_rng_state(), before)
    assert net.linear.weight.shape == (4, 3)
    assert net.scaled.shape == (2, 3)
    assert net.scaled.requires_grad
    assert net.linear.bias.tolist() == [7.0] * 4
    assert net.norm.weight.tolist() == [1.0] * 3
    assert net.places.tolist() == [0, 1, 2, 3, 4]
    assert net.mask.tolist() == [[0.0, -1.0], [0.0, 0.0]]


def test_loaded_it_is_the_network_that_was_saved():
    torch.manual_seed(3)
    saved = Small()
    with unfilled():
        net = Small()
    net.load_state_dict(saved.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), saved.parameters(), strict=True))
    row = torch.ones(1, 3)
    assert torch.equal(net.linear(net.norm(row)), saved.linear(saved.norm(row)))


def test_outside_of_the_block_weights_are_drawn():
    with unfilled():
        pass
    torch.manual_seed(3)
    assert len(torch.randn(9).unique()) == 9
    assert len(nn.Linear(3, 4).weight.unique()) == 12


def test_a_clip_has_the_weights_of_its_checkpoint(tiny_clip):
    """Every one of them, and the buffers that the checkpoint does not hold."""
    model, weights = tiny_clip
    open_clip.add_model_config(model)
    plain = open_clip.create_model(Path(model).stem, pretrained=weights)
    net = ClipModel(model, weights, Device("cpu", 1)).net
    expected = {**plain.state_dict(), **dict(plain.named_buffers())}
    found = {**net.state_dict(), **dict(net.named_buffers())}
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_a_reference_without_weights_is_an_error(tmp_path, tiny_clip):
    """open_clip itself goes on with random ones."""
    config = json.loads(Path(tiny_clip.config).read_text())
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
    with pytest.raises(RuntimeError, match="Required pretrained weights"):
        ClipModel(f"local-dir:{tmp_path}", "", Device("cpu", 1))
