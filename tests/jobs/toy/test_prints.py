"""Master prints: how they are mined, how they lie in the pool, and that `hubs.Hubness` finds them."""

import io

import numpy as np
import orjson
import polars as pl
import pytest
from PIL import Image

from jobs.toy.demo import auroc
from jobs.toy.sample_pool import PRINTS, make_sample, master_prints
from operators.hubs import Bank, Hubness
from pipeline.operator import Device
from tests.jobs.toy.test_sample_pool import MODELS

pytest.importorskip("open_clip", reason="the demo's CLIP needs open_clip")

EMBEDDINGS = {"image_embedding": "image", "text_embedding": "embedded"}


def a_planted_print() -> tuple[dict, dict]:
    """The first sample of the default pool that is one, and its json."""
    for index in range(10_000):
        sample = make_sample(0, 0, index, 16)
        if (record := orjson.loads(sample["json"]))["planted"] == "master_print":
            return sample, record
    raise AssertionError("none is planted")


def test_a_planted_print_has_the_pixels_that_were_mined() -> None:
    sample, record = a_planted_print()
    shown = np.asarray(Image.open(io.BytesIO(sample["png"])).convert("RGB"))
    assert (record["width"], record["height"]) == (64, 64)  # the CLIP's own size: nothing is resized
    assert [np.array_equal(shown, np.asarray(one)) for one in master_prints()].count(True) == 1


def test_the_strip_holds_sixteen_prints_that_are_all_different() -> None:
    assert Image.open(PRINTS).size == (16 * 64, 64)
    assert len({one.tobytes() for one in master_prints()}) == 16


def test_mining_raises_the_worst_cosine_and_repeats_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from jobs.toy import prints
    from jobs.toy.scene_clip import build

    monkeypatch.setattr(prints, "COUNT", 2)
    # With the paper's rate of 0.1 the worst cosine jumps up and down for the first hundreds of steps, and how
    # it jumps depends on the machine's instructions; with small steps it rises on every machine.
    monkeypatch.setattr(prints, "RATE", 0.003)
    model, preprocess, tokenizer = build(MODELS, MODELS / "scene_clip.safetensors")
    captions = prints.captions_of(2, 0)
    texts = torch.nn.functional.normalize(model.encode_text(tokenizer(captions)), dim=-1).view(2, 25, -1)

    def worst(steps: int) -> np.ndarray:
        monkeypatch.setattr(prints, "STEPS", steps)
        pictures = [Image.fromarray(one) for one in prints.mine(model, tokenizer, preprocess)]
        shown = torch.stack([preprocess(one) for one in pictures])
        images = torch.nn.functional.normalize(model.encode_image(shown), dim=-1)
        return torch.einsum("nd,ncd->nc", images, texts).amin(1).detach().numpy()

    assert (worst(10) > worst(0) + 0.04).all()
    assert np.array_equal(worst(3), worst(3))


def test_the_demos_prints_have_a_high_low_quantile() -> None:
    """Against the clean pictures of a pool, with a bank of its captions."""
    from jobs.toy.scene_clip import build, embed, examples

    model, preprocess, tokenizer = build(MODELS, MODELS / "scene_clip.safetensors")
    clean = examples(preprocess, 0, {None}, 500, 0)
    prints = [(preprocess(one).half().numpy(), clean[0][1], "master_print") for one in master_prints()]
    pairs = [*clean, *prints]
    images, texts = embed(model, tokenizer, pairs)
    frame = pl.DataFrame({"text": [pair[1] for pair in pairs], "shard": "s"}).with_row_index("row")
    frame = frame.with_columns(image=pl.Series(images.numpy()), embedded=pl.Series(texts.numpy()))
    stat = Bank(**EMBEDDINGS)
    bank = stat.finish(stat.merge(stat.partial(frame[: len(clean)])))
    made = Hubness(image_embedding="image", bank="bank").model_copy()
    made.setup({"bank": bank}, Device())
    planted = pl.Series([pair[2] == "master_print" for pair in pairs])
    assert (auroc(made.score(frame)["low"], planted) or 0) >= 0.99
