"""Linear heads: values by hand, beside torch and numpy, files that are none, and embeddings of another
model."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import save_file

from operators.aesthetic import AestheticScore
from operators.algorithms.files.linear_heads import outputs, read_head, why_not_head
from operators.heads import Linear
from pipeline.errors import RecipeError
from pipeline.operator import Device
from pipeline.plan.keys import parameters
from pipeline.recipe.load import parse
from tests.support.paths import DATA

ROWS = pl.DataFrame(
    {
        "c.embedding": pl.Series([[0.6, 0.8], None, [0, 0], [np.inf, 0]], dtype=pl.Array(pl.Float16, 2)),
        "c.norm": [10.0, 10.0, None, 1.0],
    }
)
FLOAT16 = [float(np.float16(0.6)), float(np.float16(0.8))]


def scored(weights: Path | str, rows: pl.DataFrame = ROWS, **fields) -> pl.DataFrame:
    made = Linear(embedding="c.embedding", weights=str(weights), **fields).model_copy()
    made.setup({}, Device())
    return made.score(rows)


def saved(path: Path, array: list) -> str:
    np.save(path, np.array(array, np.float32))
    return str(path)


def test_an_affine_map_by_hand(tmp_path):
    """.6 + 2 x .8 + 3; zero: the bias. What is not finite has a reason."""
    weights = saved(tmp_path / "w.npy", [1, 2])
    found = scored(weights, bias=saved(tmp_path / "b.npy", [3]))
    assert found["score"].to_list() == pytest.approx([FLOAT16[0] + 2 * FLOAT16[1] + 3, None, 3, None])
    assert found["error"].to_list() == [None, None, None, "the embedding is not finite"]
    assert scored(weights)["score"][2] == 0


def test_sigmoid_and_softmax_by_hand(tmp_path):
    """Of zero: outputs (0, ln 3), softmax (1/4, 3/4), sigmoid(ln 3) 3/4; extreme outputs do not overflow."""
    weights = saved(tmp_path / "w.npy", [[1, 0], [0, 1000]])
    bias = saved(tmp_path / "b.npy", [0, np.log(3)])
    for activation, output, expected in (("softmax", 0, 0.25), ("softmax", 1, 0.75), ("sigmoid", 1, 0.75)):
        found = scored(weights, bias=bias, activation=activation, output=output)["score"]
        assert found[2] == pytest.approx(expected)
        assert found[0] == pytest.approx(float(output), abs=1e-12)
    assert scored(saved(tmp_path / "m.npy", [0, -1000]), activation="sigmoid")["score"][0] == 0


def test_a_norm_undoes_the_unit_length(tmp_path):
    found = scored(saved(tmp_path / "w.npy", [1, 2]), norm="c.norm", bias=saved(tmp_path / "b.npy", [3]))
    assert found["score"].to_list() == pytest.approx(
        [10 * (FLOAT16[0] + 2 * FLOAT16[1]) + 3, None, None, None]
    )


@pytest.mark.parametrize("prefix", ["", "layers.", "fc."])
def test_tensors_by_any_one_name(tmp_path, prefix):
    tensors = {f"{prefix}weight": torch.tensor([[1.0, 2.0]]), f"{prefix}bias": torch.tensor([3.0])}
    save_file(tensors, tmp_path / "head.safetensors")
    torch.save(tensors, tmp_path / "head.pth")
    expected = scored(saved(tmp_path / "w.npy", [1, 2]), bias=saved(tmp_path / "b.npy", [3]))
    for name in ("head.safetensors", "head.pth"):
        assert scored(tmp_path / name).equals(expected)
    torch.save({f"{prefix}weight": torch.tensor([[1.0, 2.0]])}, tmp_path / "without.pth")
    assert scored(tmp_path / "without.pth")["score"][2] == 0


def test_layers_without_anything_between_them_are_one_map(tmp_path):
    """LAION's V2 without ReLUs (its layers are 0, 2, 4, 6, 7) gives what AestheticScore gives."""
    torch.manual_seed(0)
    widths = (8, 32, 12, 6, 4, 1)
    tensors = {}
    for place, before, after in zip((0, 2, 4, 6, 7), widths, widths[1:], strict=False):
        tensors[f"layers.{place}.weight"] = torch.randn(after, before)
        tensors[f"layers.{place}.bias"] = torch.randn(after)
    torch.save(tensors, tmp_path / "v2.pth")
    vectors = np.random.default_rng(0).normal(size=(500, 8)).astype(np.float16)
    rows = pl.DataFrame({"c.embedding": pl.Series(vectors)})
    other = AestheticScore(image_embedding="c.embedding", weights=str(tmp_path / "v2.pth")).model_copy()
    other.setup({}, Device())
    assert scored(tmp_path / "v2.pth", rows)["score"].equals(other.score(rows)["score"])
    x = vectors.astype(np.float64)
    for place in (0, 2, 4, 6, 7):
        x = x @ tensors[f"layers.{place}.weight"].double().numpy().T
        x += tensors[f"layers.{place}.bias"].double().numpy()
    np.testing.assert_allclose(scored(tmp_path / "v2.pth", rows)["score"].to_numpy(), x[:, 0], rtol=1e-6)


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 1024, 2000])
def test_outputs_of_any_number_of_rows(size):
    rng = np.random.default_rng(0)
    vectors, weight, bias = rng.normal(size=(size, 16)), rng.normal(size=(3, 16)), rng.normal(size=3)
    np.testing.assert_allclose(outputs(vectors, weight, bias), vectors @ weight.T + bias, atol=1e-12)
    np.testing.assert_allclose(
        outputs(vectors, weight[:1], bias[:1]), vectors @ weight[:1].T + bias[:1], atol=1e-12
    )


@pytest.mark.parametrize(
    ("array", "part"),
    [
        (np.zeros((1, 2), np.int64), r"must hold \(m, d\) or \(d,\) floats, got int64"),
        (np.zeros((1, 2, 2), np.float32), r"must hold \(m, d\) or \(d,\) floats"),
        (np.zeros((0, 2), np.float32), r"must hold \(m, d\) or \(d,\) floats"),
        (np.array([1.0, np.nan]), "has a value that is not finite"),
    ],
)
def test_arrays_that_are_no_head(tmp_path, array, part):
    np.save(tmp_path / "w.npy", array)
    with pytest.raises(ValueError, match=part):
        read_head(f"{tmp_path}/w.npy")
    if "finite" not in part:
        assert why_not_head(f"{tmp_path}/w.npy")


def test_an_array_that_was_cut_is_told_before_it_is_read(tmp_path):
    path = Path(saved(tmp_path / "w.npy", [1, 2, 3]))
    path.write_bytes(path.read_bytes()[:-4])
    assert "w.npy" in why_not_head(str(path))
    assert "must be one of .npy, .safetensors, .pth, .pt" in why_not_head("head.pkl")


@pytest.mark.parametrize(
    ("tensors", "part"),
    [
        ({"a.weight": torch.zeros(1, 2), "b.bias": torch.zeros(1)}, "each after the other"),
        ({"a.b.weight": torch.zeros(1, 2)}, "has 'a.b.weight'"),
        ({"bias": torch.zeros(1)}, "each after the other"),
        ({"0.weight": torch.zeros(3, 2), "1.weight": torch.zeros(1, 4)}, "each after the other"),
        ({"weight": torch.zeros(1, 0)}, r"must be a weight \(m, n\)"),
    ],
)
def test_tensors_that_are_no_head(tmp_path, tensors, part):
    torch.save(tensors, tmp_path / "head.pth")
    with pytest.raises(ValueError, match=part):
        scored(tmp_path / "head.pth")


def test_layers_that_multiply_to_terabytes_are_refused(tmp_path):
    wide = {"0.weight": torch.zeros(1, 200_000), "1.weight": torch.zeros(200_000, 1)}
    torch.save(wide, tmp_path / "head.pth")
    with pytest.raises(ValueError, match="layers come to a weight of 320,000,000,000 bytes"):
        scored(tmp_path / "head.pth")


def test_a_file_that_is_none_is_told_before_torch_reads_it(tmp_path):
    (tmp_path / "head.safetensors").write_bytes(b"x" * 9)
    (tmp_path / "head.pth").write_bytes(b"")
    for name in ("head.safetensors", "head.pth"):
        with pytest.raises(ValueError, match=rf"{name} is"):
            scored(tmp_path / name)


def test_fields_that_do_not_go_together(tmp_path):
    weights = saved(tmp_path / "w.npy", [[1, 2], [3, 4]])
    torch.save({"weight": torch.zeros(1, 2)}, tmp_path / "head.pth")
    for fields, part in (
        ({"weights": weights, "output": 2}, "has 2 outputs, `output` must be 0 to 1, got 2"),
        (
            {"weights": tmp_path / "head.pth", "activation": "softmax"},
            "has one output, .*: choose another `activation`",
        ),
        ({"weights": tmp_path / "head.pth", "bias": weights}, "bias: .* has its own"),
        ({"weights": weights, "bias": saved(tmp_path / "b.npy", [1])}, "has 1 numbers, the weight has 2"),
    ):
        with pytest.raises(ValueError, match=part):
            scored(**fields)


def test_what_does_not_go_with_a_local_file_is_told_by_its_header(tmp_path):
    three = saved(tmp_path / "w.npy", [[1, 2], [3, 4], [5, 6]])
    one, two = saved(tmp_path / "one.npy", [1, 2]), saved(tmp_path / "two.npy", [[1, 2]])
    for fields, field, words in (
        ({"weights": three, "output": 2}, "weights", ""),
        ({"weights": three, "output": 5}, "weights", "has 3 outputs, `output` must be 0 to 2, got 5"),
        ({"weights": one, "activation": "softmax"}, "weights", "has one output"),
        ({"weights": one, "bias": three}, "bias", r"must hold (m,) floats, got float32 (3, 2)"),
        ({"weights": three, "bias": one}, "bias", "has 2 numbers, the weight has 3 outputs"),
        ({"weights": two, "bias": saved(tmp_path / "b.npy", [1])}, "bias", ""),
        ({"weights": "head.pth", "bias": one}, "bias", "head.pth has its own"),
        ({"weights": "https://example.org/w.npy", "bias": one}, "bias", ""),
    ):
        found = Linear(embedding="c.embedding", **fields).why_broken(field, fields[field])
        assert words in found
        assert bool(words) == bool(found)


def test_embeddings_of_another_width(tmp_path):
    with pytest.raises(ValueError, match=r"embedding: c\.embedding has 2 numbers per row, .* has 3"):
        scored(saved(tmp_path / "w.npy", [1, 2, 3]))


@pytest.mark.skipif(not (DATA / "heads").is_dir(), reason="needs LAION's heads in shared/data")
def test_laions_first_head_has_its_published_values():
    """METHODS: of zero 3.529372, of 1/sqrt(768) in each place 1.513129, of the first unit vector 5.402092."""
    rows = np.stack([np.zeros(768), np.full(768, 768**-0.5), np.eye(768)[0]]).astype(np.float32)
    found = scored(DATA / "heads/sa_0_4_vit_l_14_linear.pth", pl.DataFrame({"c.embedding": rows}))
    assert found["score"].to_list() == pytest.approx([3.529372, 1.513129, 5.402092], abs=1e-6)


@pytest.mark.skipif(not (DATA / "heads").is_dir(), reason="needs LAION's heads and features in shared/data")
def test_real_features_as_in_numpy():
    features = np.load(DATA / "embeddings/coco500_clip_vit_b16.npy")[0].astype(np.float16)
    path = DATA / "heads/sa_0_4_vit_b_32_linear.pth"
    head = {name: t.double().numpy() for name, t in torch.load(path, weights_only=True).items()}
    expected = features.astype(np.float64) @ head["weight"][0] + head["bias"][0]
    found = scored(path, pl.DataFrame({"c.embedding": features}))["score"].to_numpy()
    assert np.abs(found - expected).max() < 1e-5


# --- the model that a file was made for ------------------------------------------------------------


def recipe(clip_model: str, tag: str, column: str = "clip.image_embedding", **fields) -> None:
    """A recipe with LAION's head for ViT-L-14; parsed only."""
    head = {"use": "heads.Linear", "embedding": column, "weights": "sa_0_4_vit_l_14_linear.pth", **fields}
    clip = {"use": "clip.ClipScore", "model": clip_model, **({"pretrained": tag} if tag else {})}
    pool = {"datacomp": "metadata"} if column.startswith("datacomp") else {"shards": "pool"}
    compute = {"head": head} if column.startswith("datacomp") else {"clip": clip, "head": head}
    parse({"pool": {**pool, "store": "store"}, "compute": compute})


def test_a_published_head_takes_embeddings_of_its_own_model():
    for model in ("ViT-L-14", "ViT-L/14", "ViT-L-14-quickgelu"):
        recipe(model, "openai")
    recipe("", "", "datacomp.l14_image_embedding")


@pytest.mark.parametrize(
    ("model", "pretrained", "column"),
    [
        ("ViT-B-32", "openai", "clip.image_embedding"),
        ("ViT-L-14", "laion2b_s32b_b82k", "clip.image_embedding"),
        ("ViT-L-14-336", "openai", "clip.image_embedding"),
        ("ViT-L-14", "mine/weights.pt", "clip.image_embedding"),
        ("hf-hub:mine/clip", "", "clip.image_embedding"),
        ("", "", "datacomp.b32_image_embedding"),
    ],
)
def test_another_model_is_an_error(model, pretrained, column):
    with pytest.raises(
        RecipeError,
        match=r"^compute\.head\.weights: sa_0_4_vit_l_14_linear\.pth was made for embeddings of ViT-L-14, "
        r"pretrained openai; \S+ is of .*: use that model, or, if this is the same one, say `model: ",
    ):
        recipe(model, pretrained, column)


def test_the_same_model_under_another_name_is_said():
    recipe("ViT-L-14", "mine/weights.pt", model="ViT-L-14", pretrained="mine/weights.pt")
    recipe("hf-hub:mine/clip", "", model="hf-hub:mine/clip")
    with pytest.raises(RecipeError, match="was made for embeddings of hf-hub:mine/other; "):
        recipe("hf-hub:mine/clip", "", model="hf-hub:mine/other")
    with pytest.raises(RecipeError, match="must have `model` if `pretrained` is given"):
        recipe("ViT-L-14", "openai", pretrained="openai")


def test_a_head_of_ones_own_is_tied_to_a_model_if_it_says_so(tmp_path):
    weights = saved(tmp_path / "w.npy", [1, 2])
    recipe("ViT-B-32", "openai", weights=weights)
    with pytest.raises(RecipeError, match="was made for embeddings of ViT-L-14, pretrained openai; clip"):
        recipe("ViT-B-32", "openai", weights=weights, model="ViT-L-14", pretrained="openai")


def test_a_field_that_says_nothing_is_not_in_the_key():
    fields = {"image_embedding": "clip.image_embedding", "weights": "head.pth"}
    assert parameters(AestheticScore(**fields)) == {**fields, "activation": "auto"}
    assert parameters(AestheticScore(**fields, model="ViT-L-14"))["model"] == "ViT-L-14"
