"""Numbers leave captions as the table says; only captions that have them are scored again."""

import re
import time
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jobs.toy.sample_pool import CODES
from operators.algorithms.clip.model import ClipModel, unit
from operators.clip import ClipScore
from operators.digits import NumberFreeScore, without_numbers
from pipeline.operator import Device
from pipeline.recipe.sections import Entry
from pipeline.run.decode import decode
from pipeline.run.stage.runner import StageRunner
from tests.support.samples import picture, samples
from tests.support.sizes import either
from tests.support.tiny_clip import TinyClip

SAME = None  # the caption stands as it is

TABLE = {
    "2 dogs": "dogs",
    "three dogs": SAME,
    "COVID-19": "COVID",
    "1,200.50 EUR": "EUR",
    "10:30": SAME,  # nothing else is left
    "a train at 10:30 - 12:45 p.m.": "a train at - p.m.",
    "IMG_2041.JPG": SAME,
    "IMG_2041.JPG two dogs on a beach": "two dogs on a beach",
    "iPhone 12 Pro": "iPhone Pro",
    "T-shirt": SAME,
    "3D": SAME,
    "3D render of a house, 4K wallpaper 1920x1080": "render of a house, wallpaper",
    "1024\u00d7768 wallpaper": "wallpaper",
    "DSC00123": SAME,
    "DSC00123 DSC_0042 sunset": "sunset",
    "Stock photo #3904, ref 742": "Stock photo ref",
    "№5 perfume": "perfume",
    "1st place, the 22nd of May": "place, the of May",
    "½ cup of flour": SAME,
    "1½ cups of flour": "cups of flour",
    "25 m² flat": "m² flat",
    "Louis XII": SAME,
    "Canon EF-S 18-55mm f/3.5-5.6 lens": "Canon EF-S f lens",
    "Boeing 747-400": "Boeing",
    "10-year-old boy": "year-old boy",
    "the '90s, the 1990's, mid-1980s": "the the mid",
    "$19.99, now 50% off!": "now off!",
    "$5\u2013$10 per day, 20€/night": "per day, /night",
    "20°C in the shade, -5 °C at night": "in the shade, °C at night",
    "20°Celsius": "Celsius",
    "a street in Paris (2019), at night": "a street in Paris at night",
    "(2 dogs)": "dogs)",
    "a man, 5'10\"": "a man,",
    "1, 2, 3": SAME,
    "1 + 1 = 2": SAME,
    "12345 !!!": SAME,
    "word-3-word": "word word",
    "2019-05-14T10:30:00Z dog": "dog",
    "call +1 (555) 010-9999 now": "call now",
    "wait...2 dogs": "wait... dogs",
    "dog  \n on\ta beach": SAME,  # spaces stay where no number was
    "7  dogs \n on\ta beach ": "dogs on a beach",
    # other scripts, and emoji
    "2019年3月的海滩": "年 月的海滩",
    "三只狗": SAME,
    "３匹の犬": "匹の犬",
    "٣ كلاب": "كلاب",
    "Жигули-2101 на улице": "Жигули на улице",
    "д7я дом": "дом",
    "개 2마리": "개 마리",
    "ที่3 ทะเล": "ที่ ทะเล",
    "café2 été": "été",
    "e\u03012x été": "été",
    "1\ufe0f\u20e3 dog": "dog",
    "🐶2": "🐶",
    "informaciÃ³n": SAME,  # mojibake of o with an accent, and no superscript 3
    # HTML
    "dog&#39;s tail": SAME,
    "the dog&#39;s 2 ears": "the dog's ears",
    "dog&amp;#39;s tail": SAME,
    "&amp;#51; dogs": "dogs",
    "AT&T in 2019": "AT&T in",
    f"&#{'9' * 5000}; 2 dogs": "dogs",
    "": SAME,
    " \n": SAME,
}


def removed(*captions: str | None) -> list[str | None]:
    frame = pl.DataFrame({"text": pl.Series(captions, dtype=pl.String)})
    return frame.select(without_numbers(pl.col("text"))).to_series().to_list()


@pytest.mark.parametrize("caption", TABLE)
def test_captions_without_their_numbers(caption):
    assert removed(caption) == [TABLE[caption]]


def test_all_at_once_and_none():
    assert removed(*TABLE, None) == [*TABLE.values(), None]


@pytest.mark.parametrize("code", CODES)
def test_padding_of_the_sample_pool_goes(code):
    """Only the word of a code that has one stays."""
    word = [w for w in code.split() if w.isalpha()]
    assert removed(f"{code.format(42)} a red house") == [" ".join([*word, "a red house"])]
    assert removed(f"a red house {code.format(42)}") == [" ".join(["a red house", *word])]


SIGNS = "0123456789 .,:/-_+%$#'()\u00b0abzAB\u00e9\u0301\u72d7\u0663\u00bd&;\n"
letters = st.characters(exclude_categories=["Cs", "Cn"])  # what is unassigned to Python may not be to polars
captions = st.one_of(st.text(SIGNS, max_size=40), st.text(letters, max_size=40))


@settings(max_examples=either(100, 2000))
@given(captions.map(lambda text: f"a dog {text}"))
@example("a dog 9&#0;")
@example("a dog &#38;#51;")
def test_laws_of_removal(caption):
    """Something changes where there is a digit and only there (but for HTML); then nothing is left to remove,
    and words without digits are all there, in order."""
    (found,) = removed(caption)
    if "&" not in caption:
        assert (found is not None) == bool(re.search(r"\d", caption))
    if found is not None:
        assert not re.search(r"\d", found)
        assert removed(found) == [None]
        assert found == found.strip(" ")
        assert "  " not in found
        assert found.startswith("a dog")


@settings(max_examples=either(100, 1000))
@given(st.text(letters, max_size=40).filter(lambda text: not re.search(r"\d", text)))
def test_a_caption_without_numbers_stands(caption):
    assert removed(caption) == [None]


@pytest.mark.parametrize("piece", ["a", "1", "-", "1.", "a1", "1-a", "&#1;", "1 ", "$", "\u0301", "1a."])
def test_a_long_caption_takes_no_time(piece):
    caption = piece * (100_000 // len(piece))
    started = time.process_time()
    removed(caption + " 7 dogs")
    assert time.process_time() - started < 5


# --- scores ----------------------------------------------------------------------------------------

CAPTIONS = [
    "two dogs",
    "2 dogs on 3 beaches",
    "IMG_2041.JPG",
    "DSC00123 a red house",
    None,
    " ",
    "a 4K photo",
]
CHANGED = [1, 3, 6]


@pytest.fixture(scope="module")
def clip(tiny_clip: TinyClip) -> ClipScore:
    made = ClipScore(model=tiny_clip.config, pretrained=tiny_clip.weights)
    made.setup({}, Device())
    return made


def operator(tiny_clip: TinyClip, **fields: str) -> NumberFreeScore:
    columns = {"image_embedding": "clip.image_embedding", "plain": "clip.score"}
    weights = {"model": tiny_clip.config, "pretrained": tiny_clip.weights}
    made = NumberFreeScore(**{**columns, **weights, **fields})
    made.setup({}, Device())
    return made


@pytest.fixture(scope="module")
def free(tiny_clip: TinyClip) -> NumberFreeScore:
    return operator(tiny_clip)


@pytest.fixture(scope="module")
def scored(clip: ClipScore) -> pl.DataFrame:
    """Captions with their CLIP columns."""
    return clipped(clip, CAPTIONS)


def clipped(clip: ClipScore, texts: list[str | None]) -> pl.DataFrame:
    images = [decode(picture(row, 90, 70))[0] for row in range(len(texts))]
    frame = samples(len(texts), text=texts)
    return frame.hstack(clip.score(frame, images).rename(lambda name: f"clip.{name}"))


def test_captions_without_numbers_keep_the_plain_score_to_the_bit(free, scored, monkeypatch):
    texts: list[str] = []
    real = free._clip.texts
    monkeypatch.setattr(free._clip, "texts", lambda found: texts.extend(found) or real(found))
    found = free.score(scored)
    assert texts == ["dogs on beaches", "a red house", "a photo"]  # no forward pass for the others
    stand = [row for row in range(len(CAPTIONS)) if row not in CHANGED]
    assert found["masked"][stand].equals(scored["clip.score"][stand].alias("masked"))
    assert found["score"][stand].equals(scored["clip.score"][stand].alias("score"))
    assert found["delta"].to_list()[:1] == [0.0]
    assert found["delta"][2] == 0.0
    assert found["text"].to_list() == [None, texts[0], None, texts[1], None, None, texts[2]]


def test_a_batch_without_numbers_needs_no_model(tiny_clip, scored, monkeypatch):
    made = operator(tiny_clip)
    made._clip = SimpleNamespace(width=32)
    assert made.score(scored[[0, 2, 4, 5]])["masked"].null_count() == 2


def test_the_masked_score_is_that_of_the_caption_without_numbers(free, clip, scored):
    """ClipScore on that caption and the same image; float16 embeddings are 2^-11 off at most."""
    texts = [text if text is not None else CAPTIONS[row] for row, text in enumerate(removed(*CAPTIONS))]
    expected = clipped(clip, texts)["clip.score"]
    found = free.score(scored)
    assert np.ptp(found["delta"].drop_nulls().to_numpy()) > 0.002
    np.testing.assert_allclose(found["masked"].to_numpy(), expected.to_numpy(), rtol=0, atol=2**-11)


def test_how_far_rounding_moves_a_score(clip):
    """Of the same caption, from the embedding as stored and as computed."""
    frame = clipped(clip, [f"a photograph of {word}" for word in ("dogs", "cats", "a car", "the sea")] * 8)
    stored = frame["clip.image_embedding"].to_numpy().astype(np.float32)
    text = unit(clip._clip.texts(frame["text"].to_list())[0])
    assert np.abs((stored * text).sum(1) - frame["clip.score"].to_numpy()).max() < 2**-11


@pytest.mark.parametrize("combine", ["masked", "min", "mean"])
def test_combine(tiny_clip, scored, combine):
    found = operator(tiny_clip, combine=combine).score(scored)
    plain, masked = scored["clip.score"].to_numpy(), found["masked"].to_numpy()
    expected = {"masked": masked, "min": np.minimum(plain, masked), "mean": (plain + masked) / 2}[combine]
    np.testing.assert_array_equal(found["score"].to_numpy(), expected)
    np.testing.assert_array_equal(found["delta"].to_numpy(), plain - masked)
    assert found["delta"].dtype == pl.Float32


def test_missing_inputs(free, scored):
    found = free.score(scored)
    assert found["error"].to_list() == [None, None, None, None, "no caption", "empty caption", None]
    assert found["score"].is_null().to_list() == [False] * 4 + [True] * 2 + [False]
    for column in ("clip.score", "clip.image_embedding"):  # an image that could not be read
        lost = free.score(scored.with_columns(pl.lit(None, scored.schema[column]).alias(column)))
        assert all(lost[name].null_count() == len(lost) for name in ("score", "masked", "delta"))
        assert lost["text"][1] == "dogs on beaches"


def test_an_image_that_cannot_be_read_is_the_reason(tiny_clip):
    clip = ClipScore(model=tiny_clip.config, pretrained=tiny_clip.weights)
    entries = {
        "clip": Entry("clip.ClipScore", clip),
        "digits": Entry("digits.NumberFreeScore", operator(tiny_clip)),
    }
    runner = StageRunner(entries, {}, Device(), 8)
    frame = samples(3, text=["2 dogs", "a dog", "3 dogs"])
    result, _ = runner.run(frame, [picture(0), b"not an image", None])
    assert result["digits.score"].is_null().to_list() == [False, True, True]
    assert result["digits.error"].to_list() == result["clip.error"].to_list()
    assert result["digits.error"][1] is not None


def test_an_embedding_of_another_model_is_refused(free, scored):
    other = pl.lit([0.0] * 16, pl.Array(pl.Float16, 16)).alias("clip.image_embedding")
    with pytest.raises(
        ValueError, match=r"^image_embedding: clip\.image_embedding has 16 numbers per row, .* has 32"
    ):
        free.score(scored.with_columns(other))


def test_the_text_tower_alone(clip, tiny_clip, monkeypatch):
    """No image tower is kept, no image is encoded to find the width; texts come out the same."""
    monkeypatch.setattr(ClipModel, "_images", None)
    model = ClipModel(tiny_clip.config, tiny_clip.weights, Device(), text_only=True)
    assert not hasattr(model.net, "visual")
    assert not hasattr(operator(tiny_clip)._clip.net, "visual")
    assert model.width == 32
    texts = ["a dog", "2 dogs", "x " * 100]
    assert np.array_equal(model.texts(texts)[0], clip._clip.texts(texts)[0])
    assert model.texts([])[0].shape == (0, 32)


def test_weights_must_be_named():
    with pytest.raises(ValueError, match=r"needs `pretrained`"):
        NumberFreeScore(model="ViT-B-32", image_embedding="clip.image_embedding", plain="clip.score")
