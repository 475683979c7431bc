"""The CLIP score equals open_clip's own loop; checkpoints are read, never run."""

import pickle
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from operators.algorithms.clip.model import ClipModel
from operators.clip import ClipScore
from pipeline.errors import OperatorError
from pipeline.operator import Device
from pipeline.pool.shards import Shard
from pipeline.pool.tar_reader import read_samples
from pipeline.recipe.sections import Entry
from pipeline.run.decode import decode
from pipeline.run.stage.runner import StageRunner
from tests.support.samples import picture, samples
from tests.support.tiny_clip import TinyClip

CAPTIONS = ["a dog on a beach", "Ein Hund", "x", "a dog on a beach " * 30, "A  DOG\n", "沙滩上的狗", "12:30"]


@pytest.fixture(scope="module")
def clip(tiny_clip: TinyClip) -> ClipScore:
    made = ClipScore(model=tiny_clip.config, pretrained=tiny_clip.weights)
    made.setup({}, Device())
    return made


def score(clip: ClipScore, texts, images=None) -> pl.DataFrame:
    images = [decode(picture(row, 90, 70))[0] for row in range(len(texts))] if images is None else images
    return clip.score(samples(len(texts), text=texts), images)


def direct(tiny_clip: TinyClip, files: list[bytes], texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Image and text features as open_clip's README computes them, one sample at a time."""
    import io

    import open_clip
    import torch
    from PIL import Image

    open_clip.add_model_config(Path(tiny_clip.config))
    name = Path(tiny_clip.config).stem
    model, _, preprocess = open_clip.create_model_and_transforms(name, pretrained=tiny_clip.weights)
    model.eval()
    tokenizer = open_clip.get_tokenizer(name)
    with torch.no_grad():
        pictures = [preprocess(Image.open(io.BytesIO(f)).convert("RGB"))[None] for f in files]
        image = torch.cat([model.encode_image(p) for p in pictures])
        text = torch.cat([model.encode_text(tokenizer([t])) for t in texts])
        image /= image.norm(dim=-1, keepdim=True)
        text /= text.norm(dim=-1, keepdim=True)
    return image.numpy(), text.numpy()


def agrees(found: pl.DataFrame, image: np.ndarray, text: np.ndarray) -> None:
    scores = (image * text).sum(1)
    assert np.ptp(scores) > 0.01  # random weights, but different samples score differently
    np.testing.assert_allclose(found["score"].to_numpy(), scores, rtol=0, atol=1e-6)
    half = 2.0**-11  # of float16's rounding, for values below 1
    np.testing.assert_allclose(found["image_embedding"].to_numpy(), image, rtol=0, atol=half / 2 + 1e-6)
    np.testing.assert_allclose(found["text_embedding"].to_numpy(), text, rtol=0, atol=half / 2 + 1e-6)


def test_equals_open_clip(clip, tiny_clip):
    files = [picture(row, 90 - row, 70 + 3 * row) for row in range(len(CAPTIONS))]
    found = score(clip, CAPTIONS, [decode(file)[0] for file in files])
    agrees(found, *direct(tiny_clip, files, CAPTIONS))


def test_equals_open_clip_on_real_photos(clip, tiny_clip, data):
    frame, images = next(iter(read_samples(Shard("0", str(data / "photos" / "00000.tar")), batch_rows=40)))
    files, texts = [bytes(image) for image in images], frame["text"].to_list()
    found = score(clip, texts, [decode(file)[0] for file in files])
    agrees(found, *direct(tiny_clip, files, texts))


def test_embeddings_are_float16_of_unit_norm(clip):
    found = score(clip, CAPTIONS)
    for name in ("image_embedding", "text_embedding"):
        assert found[name].dtype == pl.Array(pl.Float16, 32)
        norms = np.linalg.norm(found[name].to_numpy().astype(np.float32), axis=1)
        np.testing.assert_allclose(norms, 1, atol=1e-3)
    cosine = (
        found["image_embedding"].to_numpy().astype(np.float32) * found["text_embedding"].to_numpy()
    ).sum(1)
    np.testing.assert_allclose(found["score"].to_numpy(), cosine, atol=1e-3)  # taken before rounding


def test_norms_are_the_lengths_of_the_models_own_features(clip):
    found = score(clip, [*CAPTIONS, None], [decode(picture(row, 90, 70))[0] for row in range(7)] + [None])
    image = clip._clip.images([decode(picture(0, 90, 70))[0]])
    text, _ = clip._clip.texts(CAPTIONS[:1])
    for name, own in (("image", image[0]), ("text", text[0])):
        norms = found[f"{name}_norm"]
        assert norms.dtype == pl.Float32
        assert norms.is_null().to_list() == [False] * 7 + [True]
        assert abs(np.linalg.norm(own) - 1) > 0.01
        back = norms[0] * found[f"{name}_embedding"].to_numpy()[0].astype(np.float32)
        np.testing.assert_allclose(back, own, rtol=2e-3, atol=1e-3)


def test_dropout_is_off(clip):
    assert not clip._clip.net.training


def test_threads_change_nothing(clip, tiny_clip):
    made = ClipScore(model=tiny_clip.config, pretrained=tiny_clip.weights)
    made.setup({}, Device(threads=2))
    np.testing.assert_allclose(score(made, CAPTIONS)["score"], score(clip, CAPTIONS)["score"], atol=1e-6)


# --- captions --------------------------------------------------------------------------------------


def tokens(clip: ClipScore, text: str) -> int:
    """Tokens of a caption with its start and end."""
    return len(clip._clip.captions.tokenizer.encode(text)) + 2


@pytest.mark.parametrize(
    ("words", "expected"), [(1, False), (74, False), (75, False), (76, True), (300, True)]
)
def test_truncated(clip, words, expected):
    """The context holds 77: a start, 75 tokens and an end."""
    text = " ".join(["dog"] * words)
    assert tokens(clip, text) == words + 2
    assert score(clip, [text])["truncated"].to_list() == [expected]


def test_tokens_past_the_context_do_not_count(clip):
    base = " ".join(["dog"] * 75)
    image = [decode(picture(0))[0]]
    one, two, three = (score(clip, [base + end], image)["score"][0] for end in ("", " cat", " dog" * 50))
    assert one == two == three


@pytest.mark.parametrize(
    ("text", "error"), [(None, "no caption"), ("", "empty caption"), ("  \n", "empty caption"), ("a", None)]
)
def test_captions_that_are_missing(clip, text, error):
    row = score(clip, [text]).row(0, named=True)
    assert row["error"] == error
    assert (
        (row["score"] is None)
        == (row["text_embedding"] is None)
        == (row["truncated"] is None)
        == (error is not None)
    )
    assert row["image_embedding"] is not None


def test_images_that_are_missing(clip):
    found = score(clip, ["a dog", None], [None, None])
    assert found["score"].to_list() == [None, None]
    assert found["image_embedding"].null_count() == 2
    assert found["text_embedding"].null_count() == 1
    assert found["truncated"].to_list() == [False, None]


def test_odd_captions(clip):
    texts = ["\x00", "<start_of_text>", "a" * 100_000, "&amp;&amp;", "🐶" * 500, "\u202e", "e\u0301"]
    found = score(clip, texts)
    assert found["score"].null_count() == 0
    assert found["score"].is_finite().all()
    assert clip._clip.texts(["a \ud800 dog"])[0].shape == (1, 32)


def test_odd_images(clip):
    shapes = [(1, 1), (1, 500), (500, 1), (2, 3), (64, 64)]
    images = [np.full((h, w, 3), 77, np.uint8) for h, w in shapes]
    found = score(clip, ["a dog"] * len(shapes), images)
    assert found["score"].is_finite().all()
    same = found["image_embedding"].to_numpy().astype(np.float32)
    np.testing.assert_allclose(same, np.broadcast_to(same[0], same.shape), atol=2e-3)  # all one gray


# --- checkpoints -----------------------------------------------------------------------------------


def checkpoint(tiny_clip: TinyClip, path: Path, wrap: bool) -> str:
    import torch
    from safetensors.torch import load_file

    state = load_file(tiny_clip.weights)
    torch.save(
        {"state_dict": {f"module.{k}": v for k, v in state.items()}, "epoch": 3} if wrap else state, path
    )
    return str(path)


@pytest.mark.parametrize("wrap", [False, True])
def test_a_pt_checkpoint_gives_the_same(clip, tiny_clip, tmp_path, wrap):
    """Plain, and as open_clip's trainer saves it."""
    weights = checkpoint(tiny_clip, tmp_path / "epoch_3.pt", wrap)
    made = ClipScore(model=tiny_clip.config, pretrained=weights)
    made.setup({}, Device())
    assert score(made, CAPTIONS).equals(score(clip, CAPTIONS))


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("kind", ["torch", "pickle"])
def test_a_checkpoint_with_code_is_refused_and_not_run(tiny_clip, tmp_path, kind):
    import torch

    weights, ran = tmp_path / "evil.pt", tmp_path / "EVIL"
    content = {"state_dict": {"logit_scale": torch.ones(())}, "extra": Evil(ran)}
    torch.save(content, weights) if kind == "torch" else weights.write_bytes(pickle.dumps(content, 2))
    with pytest.raises(ValueError, match=r"evil\.pt cannot be loaded .* holds more than tensors"):
        ClipModel(tiny_clip.config, str(weights), Device())
    entry = Entry("clip.ClipScore", ClipScore(model=tiny_clip.config, pretrained=str(weights)))
    with pytest.raises(OperatorError, match=r"^clip cannot be set up: "):
        StageRunner({"clip": entry}, {}, Device(), 8)
    assert not ran.exists()


@pytest.mark.parametrize(
    ("model", "pretrained"),
    [
        ("no-such-model", "openai"),
        ("ViT-B-32", "no-such-tag"),
        ("ViT-B-32", "no/such/file.pt"),
        ("no/such.json", "x.pt"),
    ],
)
def test_a_model_that_does_not_exist_is_an_operator_error(model, pretrained):
    entry = Entry("clip.ClipScore", ClipScore(model=model, pretrained=pretrained))
    with pytest.raises(OperatorError, match=r"^clip cannot be set up: ") as raised:
        StageRunner({"clip": entry}, {}, Device(), 8)
    assert "\n" not in str(raised.value)


def test_weights_that_do_not_fit_are_refused(tiny_clip, tmp_path):
    """A checkpoint that lacks a layer must not be filled up with random numbers."""
    from safetensors.torch import load_file, save_file

    state = load_file(tiny_clip.weights)
    del state["visual.proj"]
    save_file(state, tmp_path / "partial.safetensors")
    with pytest.raises(ValueError, match=r"partial\.safetensors cannot be loaded .*visual\.proj"):
        ClipModel(tiny_clip.config, str(tmp_path / "partial.safetensors"), Device())


@pytest.mark.parametrize("model", ["ViT-B-32", "tiny.json"])
def test_weights_must_be_named(model):
    with pytest.raises(
        ValueError, match=r"needs `pretrained`: a tag of the model \(such as openai\) or a checkpoint file"
    ):
        ClipScore(model=model)
    assert ClipScore(model="hf-hub:org/model").pretrained == ""
    assert ClipScore(model="local-dir:/models/x").pretrained == ""


def test_two_models_of_one_file_name(tiny_clip, tmp_path):
    """A config is read from its path, not remembered by its name."""
    import json

    import open_clip
    import torch
    from safetensors.torch import save_file

    config = json.loads(Path(tiny_clip.config).read_text()) | {"embed_dim": 16}
    other = tmp_path / Path(tiny_clip.config).name
    other.write_text(json.dumps(config))
    torch.manual_seed(1)
    save_file(open_clip.CLIP(**config).state_dict(), tmp_path / "w.safetensors")
    assert ClipModel(str(other), str(tmp_path / "w.safetensors"), Device()).width == 16
    assert ClipModel(tiny_clip.config, tiny_clip.weights, Device()).width == 32


@pytest.mark.gpu
def test_gpu_is_close_to_cpu(clip, tiny_clip):
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    made = ClipScore(model=tiny_clip.config, pretrained=tiny_clip.weights)
    made.setup({}, Device("cuda"))
    in_bf16 = score(made, CAPTIONS)["score"]
    np.testing.assert_allclose(in_bf16, score(clip, CAPTIONS)["score"], atol=2e-2)


def test_the_tokenizer_forgets(clip, monkeypatch):
    model, captions, bound = clip._clip, clip._clip.captions, len(clip._clip.captions.special) + 5
    before = model.texts(["a photograph of one zebra"])[0]
    monkeypatch.setattr("operators.algorithms.clip.tokens.WORDS", bound)
    model.texts([f"word{chr(97 + n)}{chr(98 + n)}" for n in range(24)])
    assert len(captions.tokenizer.cache) > bound
    assert np.array_equal(model.texts(["a photograph of one zebra"])[0], before)
    assert len(captions.tokenizer.cache) <= bound
