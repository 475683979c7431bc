"""A CLIP that reads: trained here on the synthetic benchmark of Parrot Captions, a word centred on a card.

The demo's CLIP cannot read, so only a model such as this shows which sign the lost score has.
"""

import json
from itertools import product
from pathlib import Path

import numpy as np
import open_clip
import polars as pl
import pytest
import torch
from PIL import Image, ImageDraw, ImageFont
from safetensors.torch import save_file

from operators.clip import ClipScore
from operators.parrot import CoEmbeddedText, MaskEffect
from operators.text import MaskedClipScore, TextBoxes
from pipeline.operator import Device
from tests.support.samples import samples

WORDS = ("apple", "bread", "chair", "dress", "eagle", "flute", "grape", "horse")
STYLES = (("white", "black"), ("black", "white"), ("gray", "white"), ("gray", "black"))
CONFIG = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 64, "layers": 2, "width": 64, "head_width": 32, "patch_size": 8},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}


def card(word: str, paper: str, ink: str) -> Image.Image:
    image = Image.new("RGB", (224, 224), paper)
    ImageDraw.Draw(image).text((112, 112), word, ink, ImageFont.load_default(56), "mm")
    return image


CARDS = [(word, card(word, *style)) for word, style in product(WORDS, STYLES)]


@pytest.fixture(scope="module")
def reader(tmp_path_factory) -> dict[str, str]:
    """`model` and `pretrained`: knows each of the words by its letters, after some ten seconds."""
    folder: Path = tmp_path_factory.mktemp("reader")
    (folder / "reader.json").write_text(json.dumps(CONFIG))
    open_clip.add_model_config(folder / "reader.json")
    torch.manual_seed(0)
    model, _, preprocess = open_clip.create_model_and_transforms("reader")
    pixels = torch.stack([preprocess(image) for _, image in CARDS])
    tokens, labels = open_clip.get_tokenizer("reader")(list(WORDS)), torch.arange(32) // len(STYLES)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(200):
        images, texts = model.encode_image(pixels, normalize=True), model.encode_text(tokens, normalize=True)
        loss = torch.nn.functional.cross_entropy(20 * images @ texts.T, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1
    save_file(model.state_dict(), folder / "reader.safetensors")
    return {"model": str(folder / "reader.json"), "pretrained": str(folder / "reader.safetensors")}


def effects(reader: dict[str, str], captions: list[str], text: TextBoxes) -> pl.DataFrame:
    """rsa and rsc of the cards under these captions."""
    images = [np.asarray(image) for _, image in CARDS]
    frame = samples(len(images), text=captions)
    shared = {"text_embedding": "clip.text_embedding", "plain": "clip.score", **reader}
    chain = {
        "clip": ClipScore(**reader),
        "text": text,
        "masked": MaskedClipScore(boxes="text.boxes", **shared),
        "parrot": CoEmbeddedText(words="text.words", boxes="text.boxes"),
        "shared": MaskedClipScore(boxes="parrot.boxes", **shared),
    }
    for name, operator in chain.items():
        operator.setup({}, Device())
        found = operator.score(frame) if name == "parrot" else operator.score(frame, images)
        frame = frame.hstack(found.rename(lambda column, name=name: f"{name}.{column}"))
    return MaskEffect(plain="clip.score", all="masked.score", co_embedded="shared.score").score(frame)


def test_parrots_lose_score_with_their_text(reader):
    """RSA and RSC are positive if the caption is the written word, and not if it is another word."""
    written = [word for word, _ in CARDS]
    parrots = effects(reader, written, TextBoxes())
    assert parrots["rsa"].min() > 0.1
    assert parrots["rsc"].equals(parrots["rsa"]), "all of the text is co-embedded"
    others = effects(reader, [WORDS[(WORDS.index(word) + 1) % 8] for word in written], TextBoxes())
    assert others["rsa"].mean() < 0.05
    assert others["rsc"].abs().max() < 1e-3, "none of it is"
