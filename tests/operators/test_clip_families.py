"""The CLIP score equals a plain open_clip loop for every kind of text tower, tokenizer and preprocessing that
open_clip's configs have, on captions of any length in ten scripts and on every kind of picture.

Widths are tiny and weights random. Towers of the package transformers (roberta, mT5, NLLB) are replaced by
open_clip's own; their tokenizers are kept. Where a tokenizer is of that package, a stand-in with a vocabulary
made on the spot takes its place behind open_clip's HFTokenizer; see tests/support/hugging_face.py.
"""

import importlib.util
import io
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import polars as pl
import pytest
import torch
from open_clip.pretrained import _PRETRAINED
from open_clip.transform import PreprocessCfg
from PIL import Image
from safetensors.torch import save_file

from operators.algorithms.clip.model import ClipModel, unit
from operators.algorithms.clip.tokens import Captions
from operators.clip import ClipScore
from pipeline.operator import Device
from pipeline.run.decode import decode
from tests.support import hugging_face
from tests.support.pictures import PICTURES
from tests.support.samples import picture, samples

pytestmark = pytest.mark.filterwarnings("ignore:Palette images")  # Pillow's

CONFIGS = sorted((Path(open_clip.__file__).parent / "model_configs").glob("*.json"))
SIZES = ("width", "heads", "layers", "mlp_ratio", "vocab_size")
NOT_OURS = ("hf_model_name", "hf_proj_type", "hf_pooler_type")  # of towers of the package transformers
TINY = {"width": 32, "heads": 2, "layers": 1}
VISION = {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16}
WORDS = (
    "dog beach photograph a of", "пляж собака фото на", "σκύλος παραλία στην", "كلب على الشاطئ",
    "כלב על החוף", "कुत्ता समुद्र तट पर", "สุนัข บน ชายหาด", "沙滩 上 的 狗", "ビーチ の 犬", "해변 의 개",
)  # fmt: skip
LENGTHS = (0, 1, 4, 14, 30, 62, 75, 100, 200)
CAPTIONS = [
    " ".join((words.split() * 200)[start : start + length])
    for start, words in enumerate(WORDS)
    for length in LENGTHS
] + ["x", "12:30!", "A  DOG\n", "&amp;", "🐶" * 90]


def _families() -> dict[str, dict[str, Any]]:
    """One config of each kind of text tower: equal but for sizes and for the size in a tokenizer's name."""
    found: dict[str, dict[str, Any]] = {}
    for path in CONFIGS:
        config = json.loads(path.read_text())
        text = {k: v for k, v in config["text_cfg"].items() if k not in SIZES}
        if name := text.get("hf_tokenizer_name"):
            text["hf_tokenizer_name"] = hugging_face.kind_of(name)
        kind = [text, *(config.get(k) for k in ("custom_text", "quick_gelu")), "multimodal_cfg" in config]
        found.setdefault(json.dumps(kind, sort_keys=True), {"stem": path.stem, **config})
    return {config["stem"]: config for config in found.values()}


def config_of(model: str) -> dict[str, Any]:
    return json.loads(next(path for path in CONFIGS if path.stem == model).read_text())


def _preprocessings() -> list[dict[str, Any]]:
    """Every preprocessing of open_clip's published weights, and those that a config may ask for besides."""
    keys = asdict(PreprocessCfg()).keys() - {"size"}
    tags = [tag for tags in _PRETRAINED.values() for tag in tags.values()]
    found = [{k: v for k, v in tag.items() if k in keys and v is not None} for tag in tags]
    for interpolation in ("bicubic", "bilinear"):
        found.append({"interpolation": interpolation, "resize_mode": "longest", "fill_color": 90})
    return list({json.dumps(one, sort_keys=True): one for one in found}.values())


FAMILIES = _families()
PLAIN = next(
    config for config in FAMILIES.values() if config["text_cfg"].keys() <= {*SIZES, "context_length"}
)
PREPROCESSINGS = _preprocessings()


def make_model(
    folder: Path, config: dict[str, Any], preprocess: dict[str, Any], save=hugging_face.save
) -> str:
    """A `local-dir:` model with random weights, at a tiny width."""
    folder.mkdir()
    text = {k: v for k, v in config["text_cfg"].items() if k not in NOT_OURS} | TINY
    if name := text.get("hf_tokenizer_name"):
        save(folder, hugging_face.kind_of(name))
        text["vocab_size"] = hugging_face.VOCABULARY
    model = {
        "embed_dim": 32,
        "vision_cfg": VISION,
        "text_cfg": text,
        **{k: config[k] for k in ("custom_text", "quick_gelu", "init_logit_bias") if k in config},
    }
    if "multimodal_cfg" in config:
        model["multimodal_cfg"] = config["multimodal_cfg"] | TINY | {"dim_head": 16, "n_queries": 4}
        model["vision_cfg"] = VISION | {
            "attentional_pool": True,
            "output_tokens": True,
            "attn_pooler_heads": 2,
        }
        text |= {"embed_cls": True, "output_tokens": True}
        text["context_length"] = text.get("context_length", 76)
    about = {"model_cfg": model, "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(about))
    torch.manual_seed(3)
    cls = open_clip.CoCa if "multimodal_cfg" in config else None
    cls = cls or (open_clip.CustomTextCLIP if config.get("custom_text") else open_clip.CLIP)
    known = {k: v for k, v in model.items() if k != "custom_text"}
    save_file(dict(cls(**known).state_dict()), folder / "open_clip_model.safetensors")
    return f"local-dir:{folder}"


def plain_loop(
    model: str, files: list[bytes], texts: list[str], precision: str = "fp32"
) -> tuple[np.ndarray, np.ndarray]:
    """Image and text features as open_clip's README computes them, one sample at a time, of unit length."""
    net, preprocess = open_clip.create_model_from_pretrained(model, precision=precision)
    net.eval()
    tokenizer = open_clip.get_tokenizer(model)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    with torch.no_grad():
        pictures = [preprocess(Image.open(io.BytesIO(f)).convert("RGB"))[None].to(dtype) for f in files]
        image = torch.cat([net.encode_image(p) for p in pictures])
        text = torch.cat([net.encode_text(tokenizer([t])) for t in texts])
    return unit(image.float().numpy()), unit(text.float().numpy())


def check_equal(model: str, files: list[bytes], texts: list[str]) -> pl.DataFrame:
    """The columns of ClipScore, which equal the plain loop's."""
    made = ClipScore(model=model).model_copy()
    made.setup({}, Device())
    images = [decode(file)[0] for file in files]
    image, text = plain_loop(model, files, texts)
    found = made.score(samples(len(texts), text=texts), images)
    shown = found.filter(pl.Series([bool(t.strip()) for t in texts]))
    expected = (image * text).sum(1)[[bool(t.strip()) for t in texts]]
    np.testing.assert_allclose(shown["score"].to_numpy(), expected, rtol=0, atol=1e-6)
    np.testing.assert_allclose(unit(made._clip.images(images)), image, rtol=0, atol=1e-6)
    np.testing.assert_allclose(unit(made._clip.texts(texts)[0]), text, rtol=0, atol=1e-6)
    return found


def expected_cuts(tokenizer: Any, texts: list[str]) -> list[bool | None]:
    """Whether captions are longer than the context: counted by the rules of each class, not by its call."""
    if hasattr(tokenizer, "encode"):
        counts = [len(type(tokenizer).encode(tokenizer, text)) + 2 for text in texts]
    else:
        special = tokenizer.tokenizer.special
        ends = len(special.before) + len(special.after)
        counts = [len(tokenizer.tokenizer.pieces(tokenizer.clean_fn(text))) + ends for text in texts]
    cuts = [count > tokenizer.context_length for count in counts]
    return [cut if text.strip() else None for cut, text in zip(cuts, texts, strict=True)]


@pytest.mark.parametrize("name", FAMILIES)
def test_captions_of_every_family(name, tmp_path, monkeypatch):
    hugging_face.install(monkeypatch)
    preprocess = PREPROCESSINGS[list(FAMILIES).index(name) % len(PREPROCESSINGS)]
    model = make_model(tmp_path / "model", FAMILIES[name], preprocess)
    files = [picture(row, 40 + row % 7, 40 - row % 9) for row in range(len(CAPTIONS))]
    found = check_equal(model, files, CAPTIONS)
    assert found["truncated"].to_list() == expected_cuts(open_clip.get_tokenizer(model), CAPTIONS)
    assert found["truncated"].sum() > 20


@pytest.mark.parametrize("name", FAMILIES)
def test_bfloat16_of_every_family(name, tmp_path, monkeypatch):
    """As near to open_clip's own loop in bf16 as rounding to 8 bits allows. That loop fails for CoCa."""
    hugging_face.install(monkeypatch)
    model = make_model(tmp_path / "model", FAMILIES[name], {})
    files, texts = [picture(row, 40 + row % 7, 40 - row % 9) for row in range(20)], CAPTIONS[:20]
    if FAMILIES[name]["text_cfg"].get("proj_bias"):  # published ones have an image tower of the package timm
        with pytest.raises(
            ValueError, match=r"does not make local-dir.* in bfloat16; set precision: float32"
        ):
            ClipModel(model, "", Device(), "bfloat16")
        return
    clip = ClipModel(model, "", Device(), "bfloat16")
    found = unit(clip.images([decode(file)[0] for file in files])), unit(clip.texts(texts)[0])
    exact = plain_loop(model, files, texts)
    loop = exact if "multimodal_cfg" in FAMILIES[name] else plain_loop(model, files, texts, "bf16")
    for ours, theirs, before in zip(found, loop, exact, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=0.02)
        assert 1e-5 < np.abs(ours - before).mean() < 0.01


@pytest.mark.parametrize("preprocess", PREPROCESSINGS, ids=lambda one: "-".join(map(str, one.values())))
def test_pictures_of_every_preprocessing(preprocess, tmp_path):
    assert len(PICTURES) >= 35
    model = make_model(tmp_path / "model", PLAIN, preprocess)
    check_equal(model, list(PICTURES.values()), [f"picture {n}" for n in range(len(PICTURES))])


def test_clips_mode(tmp_path, monkeypatch):
    """A mode of HFTokenizer that no config has, but that a config file may ask for."""
    hugging_face.install(monkeypatch)
    family = config_of("ViT-H-14-CLIPA")
    text = {**family["text_cfg"], "tokenizer_mode": "clips", "tokenizer_kwargs": {}}
    model = make_model(tmp_path / "model", {**family, "text_cfg": text}, {})
    captions = [" ".join(["dog"] * words) for words in (1, 28, 29, 30, 31, 90)]  # the context holds 32
    found = check_equal(model, [picture(n) for n in range(6)], captions)
    assert found["truncated"].to_list() == [False, False, False, True, True, True]


def test_the_mistakes_that_were(tmp_path, monkeypatch):
    """SigLIP pads with its end token, and CLIPA's end token is taken out: neither shows a caption's end."""
    hugging_face.install(monkeypatch)
    for name, holds in (("ViT-B-16-SigLIP", 63), ("ViT-H-14-CLIPA", 30)):
        model = ClipModel(make_model(tmp_path / name, config_of(name), {}), "", Device())
        captions = [" ".join(["dog"] * words) for words in (holds, holds + 1, holds + 2)]
        tokens, cut = model.captions(captions)
        assert cut == [False, True, True]
        assert torch.equal(tokens, model.captions.tokenizer(captions))


@pytest.mark.parametrize("reduction", ["simple", "random", "shuffle"])
def test_a_tokenizer_that_draws_is_refused(reduction):
    with pytest.raises(ValueError, match="drops tokens of long captions at random"):
        Captions(open_clip.SimpleTokenizer(reduction_mask=reduction))


def test_an_unknown_tokenizer_is_refused():
    class Other:
        context_length = 77

    with pytest.raises(ValueError, match="open_clip's tokenizer Other is not one that Winnow knows"):
        Captions(Other())


@pytest.mark.skipif(importlib.util.find_spec("transformers") is None, reason="needs the package transformers")
@pytest.mark.parametrize("kind", hugging_face.KINDS)
def test_real_tokenizers(kind, tmp_path):
    """Those of the package itself, with a vocabulary made on the spot."""
    name = next(n for n, c in FAMILIES.items() if kind in c["text_cfg"].get("hf_tokenizer_name", ""))
    model = make_model(tmp_path / "model", FAMILIES[name], {}, hugging_face.save_real)
    found = check_equal(model, [picture(n) for n in range(len(CAPTIONS))], CAPTIONS)
    assert 0 < found["truncated"].sum() < len(CAPTIONS)
