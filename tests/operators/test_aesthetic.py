"""The aesthetic head: layers by hand, both kinds of checkpoint, wrong ones."""

import itertools
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import save_file

from operators.aesthetic import AestheticScore
from pipeline.operator import Device

LAYERS = {
    "layers.0.weight": torch.tensor([[1.0, 2.0], [0.0, -1.0], [3.0, 0.0]]),
    "layers.0.bias": torch.tensor([0.5, 0.0, -1.0]),
    "layers.1.weight": torch.tensor([[1.0, 1.0, 2.0]]),
    "layers.1.bias": torch.tensor([4.0]),
}
ROWS = pl.DataFrame(
    {"clip.image_embedding": pl.Series([[0.5, 1.0], None, [0, 0]], dtype=pl.Array(pl.Float16, 2))}
)


def scored(path: Path, **fields) -> list[float | None]:
    made = AestheticScore(image_embedding="clip.image_embedding", weights=str(path), **fields).model_copy()
    made.setup({}, Device())
    return made.score(ROWS)["score"].to_list()


def test_layers_by_hand(tmp_path):
    """(.5, 1): hidden (3, -1, .5), out 3 - 1 + 1 + 4. Zero: hidden (.5, 0, -1), out .5 - 2 + 4."""
    save_file(LAYERS, tmp_path / "head.safetensors")
    torch.save(LAYERS, tmp_path / "head.pth")
    assert scored(tmp_path / "head.safetensors") == scored(tmp_path / "head.pth") == [7, None, 2.5]


def test_one_layer(tmp_path):
    torch.save({"weight": torch.tensor([[1.0, -2.0]]), "bias": torch.tensor([5.0])}, tmp_path / "v1.pth")
    assert scored(tmp_path / "v1.pth") == [3.5, None, 5]


def test_equals_torch_on_the_real_shape(tmp_path):
    widths = [8, 16, 4, 1]
    net = torch.nn.Sequential(*[torch.nn.Linear(a, b) for a, b in itertools.pairwise(widths)])
    torch.save({f"layers.{k}": v for k, v in net.state_dict().items()}, tmp_path / "v2.pth")
    vectors = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float16)
    made = AestheticScore(image_embedding="e.v", weights=str(tmp_path / "v2.pth")).model_copy()
    made.setup({}, Device())
    found = made.score(pl.DataFrame({"e.v": pl.Series(vectors)}))["score"].to_numpy()
    expected = net(torch.from_numpy(vectors.astype(np.float32))).detach().numpy()[:, 0]
    assert np.abs(found - expected).max() < 1e-5


def laion(relu: bool, widths=(8, 32, 12, 6, 4, 1)) -> torch.nn.Sequential:
    """The modules of LAION's heads, narrower. In the repository improved-aesthetic-predictor the linear
    layers of ava+logos-l14-reluMSE.pth are 0, 3, 6, 9, 11; those of the linearMSE heads 0, 2, 4, 6, 7."""
    modules: list[torch.nn.Module] = []
    for number, (before, after) in enumerate(itertools.pairwise(widths)):
        modules.append(torch.nn.Linear(before, after))
        modules += [torch.nn.ReLU()] * (relu and number < 4) + [torch.nn.Dropout()] * (number < 3)
    torch.manual_seed(0)
    return torch.nn.Sequential(*modules).eval()


@pytest.mark.parametrize(("relu", "places"), [(True, "0 3 6 9 11"), (False, "0 2 4 6 7")])
@pytest.mark.parametrize("rows", [0, 1, 64, 150])
def test_equals_torch_on_laions_heads(tmp_path, relu, places, rows):
    net = laion(relu)
    state = {f"layers.{k}": v for k, v in net.state_dict().items()}
    assert " ".join(k.split(".")[1] for k in state if "weight" in k) == places
    torch.save(state, tmp_path / "head.pth")
    vectors = np.random.default_rng(0).normal(size=(rows, 8)).astype(np.float16)
    made = AestheticScore(image_embedding="e.v", weights=str(tmp_path / "head.pth")).model_copy()
    made.setup({}, Device())
    column = pl.Series(vectors, dtype=pl.Array(pl.Float16, 8))
    found = made.score(pl.DataFrame({"e.v": column}))["score"].to_numpy()
    expected = net(torch.from_numpy(vectors.astype(np.float32))).detach().numpy()[:, 0]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_gap_that_may_be_a_relu_must_be_explained(tmp_path):
    """(.5, 1): hidden (3, -1, .5), out 3 - 1 + 1 + 4, with ReLU 3 + 1 + 4."""
    save_file({k.replace("1.", "2."): v for k, v in LAYERS.items()}, tmp_path / "head.safetensors")
    with pytest.raises(
        ValueError, match=r"^activation: .* at \[0, 2\], .* `activation: none` or `activation: relu`"
    ):
        scored(tmp_path / "head.safetensors")
    assert scored(tmp_path / "head.safetensors", activation="none") == [7, None, 2.5]
    assert scored(tmp_path / "head.safetensors", activation="relu") == [8, None, 4.5]
    torch.save({f"layers.{k}": v for k, v in laion(True).state_dict().items()}, tmp_path / "relu.pth")
    with pytest.raises(ValueError, match=r"^activation: .* is a head with relu between its layers, got none"):
        scored(tmp_path / "relu.pth", activation="none")


@pytest.mark.parametrize(
    ("tensors", "part"),
    [
        ({"conv.0.1.weight": torch.zeros(2, 2)}, "has 'conv.0.1.weight'"),
        ({k: v for k, v in LAYERS.items() if k != "layers.1.bias"}, "each after the other"),
        ({k: v for k, v in LAYERS.items() if "0" in k}, "end in one number"),
        (LAYERS | {"layers.0.bias": torch.zeros(2)}, "each after the other"),
    ],
)
def test_wrong_checkpoints(tmp_path, tensors, part):
    save_file(tensors, tmp_path / "head.safetensors")
    with pytest.raises(ValueError, match=part):
        scored(tmp_path / "head.safetensors")


def test_another_width(tmp_path):
    save_file({"weight": torch.zeros(1, 3), "bias": torch.zeros(1)}, tmp_path / "head.safetensors")
    with pytest.raises(ValueError, match="has 2 numbers per row"):
        scored(tmp_path / "head.safetensors")
