"""Text that was drawn is found and read, in every kind of image and in any company."""

import io

import numpy as np
import polars as pl
import pytest
from PIL import Image, ImageDraw, ImageFont

from operators.algorithms.ocr.lines import TextReader, is_large, strip
from operators.algorithms.ocr.masking import text_mask
from operators.text import TextBoxes
from pipeline.errors import OperatorError
from pipeline.operator import Device
from pipeline.recipe.lookup import build
from pipeline.run.decode import decode
from pipeline.run.stage.runner import StageRunner
from tests.benchmarks.bench_text import figures, lemmas, ours, parrots, photos, rendered, street_scenes
from tests.support.samples import picture, samples
from tests.support.sizes import either


def card(*lines: str, size: int = 36, width: int = 320, height: int = 200, angle: float = 0) -> Image.Image:
    """Black lines of text on paper."""
    image = Image.new("RGB", (width, height), "ivory")
    canvas, font = ImageDraw.Draw(image), ImageFont.load_default(size)
    for place, line in enumerate(lines):
        canvas.text((20, 20 + 1.5 * size * place), line, "black", font)
    return image.rotate(angle, expand=True, fillcolor="ivory")


def encoded(image: Image.Image, format: str = "PNG", **options) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def read(text: TextBoxes, *images: Image.Image | np.ndarray | None) -> pl.DataFrame:
    pixels = [None if image is None else np.asarray(image) for image in images]
    return text.score(samples(len(images)), pixels)


# --- what is found ---------------------------------------------------------------------------------


def test_lines_are_found_and_read_in_order(text):
    row = read(text, card("HELLO world", "number 42")).row(0, named=True)
    assert row["lines"] == ["HELLO world", "number 42"]
    assert row["words"] == ["HELLO", "world", "number", "42"]
    assert len(row["boxes"]) == len(row["detections"]) == len(row["confidences"]) == 2
    assert min(row["confidences"]) > 0.9
    assert min(row["detections"]) > 0.6


def test_boxes_lie_around_the_ink(text):
    image = np.asarray(card("HELLO", size=40))
    row = read(text, image).row(0, named=True)
    mask = text_mask(np.array(row["boxes"], np.int32).reshape(-1, 4, 2), 200, 320).astype(bool)
    ink = image.sum(2) < 380
    assert ink[mask].sum() / ink.sum() > 0.99
    assert row["coverage"] == pytest.approx(mask.mean())
    high, wide = (np.ptp(np.nonzero(ink)[axis]) + 1 for axis in (0, 1))
    assert high * wide < mask.sum() < 3 * high * wide
    (x0, y0, x1, y1, x2, y2, x3, y3), *_ = row["boxes"]
    assert x0 < x1, "upper left first, then clockwise"
    assert y1 < y2
    assert x3 < x2
    assert y0 < y3


@pytest.mark.parametrize("angle", [-20, 10, 30, 90, 180, 270])
def test_turned_text(text, angle):
    assert read(text, card("BREAKFAST", "dinner", angle=angle))["words"].to_list()[0] in (
        ["BREAKFAST", "dinner"],
        ["dinner", "BREAKFAST"],  # as boxes lie in the image
    )


def test_nothing_to_find(text):
    found = read(text, Image.new("RGB", (200, 100), "white"), decode(picture(0, 90, 70))[0], None)
    for name in ("boxes", "detections", "lines", "confidences", "words"):
        assert found[name].to_list() == [[], [], None]
    assert found["coverage"].to_list() == [0, 0, None]


def test_without_recognition_the_boxes_are_the_same(text):
    made = TextBoxes(recognise=False)
    made.setup({}, Device())
    one, two = (read(operator, card("HELLO world", "number 42"), None) for operator in (text, made))
    for name in ("boxes", "detections", "coverage"):
        assert one[name].equals(two[name])
    assert two.select("lines", "words", "confidences").null_count().row(0) == (2, 2, 2)


def test_unsure_readings_are_not_words(text):
    """`confidences` stay, so that one can see why."""
    made = TextBoxes(confidence=1)
    made.setup({}, Device())
    blurred = card("Hamburgefonts", size=14).resize((160, 100)).resize((320, 200))
    row = read(made, blurred).row(0, named=True)
    assert (row["lines"], row["words"]) == ([""], [])
    assert 0 < row["confidences"][0] < 1
    assert read(text, blurred)["boxes"].to_list() == [row["boxes"]]


@pytest.mark.parametrize(("height", "large"), [(33, False), (34, True), (90, True)])
def test_large_is_over_a_third_of_the_shorter_side(height, large):
    box = np.array([[0, 0], [250, 0], [250, height], [0, height]])
    assert is_large(box, (100, 300)) == large
    assert is_large(np.array([box[1], box[2], box[3], box[0]]), (100, 300)) == large


def test_a_huge_word_is_kept_and_a_huge_thing_is_not(text):
    """The detector alone takes the disc for a letter."""
    disc = Image.new("RGB", (300, 200), "white")
    canvas = ImageDraw.Draw(disc)
    for n, colour in enumerate(("brown", "tan", "white", "tan", "brown")):
        canvas.ellipse((60 + 14 * n, 10 + 14 * n, 240 - 14 * n, 190 - 14 * n), colour)
    assert len(text._reader._find([np.asarray(disc)])) == 1
    finder = TextBoxes(recognise=False)
    finder.setup({}, Device())
    for operator in (text, finder):
        found = read(operator, disc, card("SALE", size=110))
        assert found["boxes"].list.len().to_list() == [0, 1]
    assert read(text, card("SALE", size=110))["words"].to_list() == [["SALE"]]


# --- every kind of image ---------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["RGBA", "P", "L", "LA", "CMYK", "1"])
def test_modes(text, mode):
    image = card("HELLO").convert(mode)
    data = encoded(image, "JPEG", quality=95) if mode == "CMYK" else encoded(image)
    assert read(text, decode(data)[0])["words"].to_list() == [["HELLO"]]


def test_boxes_are_in_pixels_of_the_image_as_stored(text):
    """A camera on its side stores the picture lying, with EXIF orientation 6; pixels and boxes lie, too."""
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = card("BREAKFAST", angle=90)
    plain, tagged = (decode(encoded(lying, "JPEG", quality=95, **o))[0] for o in ({}, {"exif": exif}))
    found = read(text, plain, tagged)
    assert found["boxes"][0].equals(found["boxes"][1])
    assert found["words"].to_list() == [["BREAKFAST"]] * 2
    ink = np.asarray(lying).sum(2) < 300
    mask = text_mask(np.array(found["boxes"][1].to_list(), np.int32).reshape(-1, 4, 2), *ink.shape)
    assert ink[mask.astype(bool)].sum() / ink.sum() > 0.98


@pytest.mark.parametrize(
    ("width", "height"), [(1, 1), (3, 2), (20_000, 10), (10, 20_000), (40_000, 30), (5000, 3000)]
)
def test_odd_sizes(text, width, height):
    noise = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    image = np.asarray(Image.fromarray(noise).resize((width, height)))
    row = read(text, image).row(0, named=True)
    assert 0 <= row["coverage"] <= 1
    for box in np.array(row["boxes"]).reshape(-1, 4, 2):
        assert (box >= 0).all()
        assert (box < (width, height)).all()


def test_large_pictures_are_read_at_their_own_size(text):
    small = card("HELLO", "number 42")
    row = read(text, small.resize((3200, 2000)), small).to_dicts()
    assert row[0]["words"] == row[1]["words"] == ["HELLO", "number", "42"]
    np.testing.assert_allclose(np.array(row[0]["boxes"]) / 10, row[1]["boxes"], atol=6)


def test_a_strip_is_the_same_from_a_part_of_the_picture():
    """Only the box's neighbourhood is touched, whatever the picture's size; what is high is shrunk."""
    image = np.random.default_rng(0).integers(0, 256, (60, 90, 3), np.uint8)
    box = np.array([[20, 15], [60, 20], [58, 36], [18, 31]], np.int32)
    wide = np.pad(image, ((0, 40), (0, 40_000), (0, 0)))
    assert (strip(image, box) == strip(wide, box)).all()
    high = strip(np.zeros((1200, 2000, 3), np.uint8), box * 30)
    assert 90 <= high.shape[0] <= 100
    assert 200 <= high.shape[1] <= 260


# --- a row's own result ----------------------------------------------------------------------------


def test_threads_change_nothing(text):
    made = TextBoxes()
    made.setup({}, Device(threads=3))
    images = [card(f"number {n}", "and more", size=20 + 2 * n) for n in range(7)]
    assert read(made, *images).equals(read(text, *images))


def test_calls_of_many_pictures_as_on_gpu():
    """The same code with one square shape and several items a call: every word, whatever the order."""
    reader = TextReader(Device(), 320, 1.25, 0.4, True)
    reader.block, reader.detect.square, reader.step = 4, True, 160
    reader.detect.network.chunk = reader.direction.chunk = 3
    assert reader.read is not None
    reader.read.chunk = 5
    images = [np.asarray(card(f"number {n}", "and more", size=20 + 2 * n, width=300 + n)) for n in range(7)]
    found = reader(images)
    assert [[line.text for line in lines] for lines in found] == [
        [f"number {n}", "and more"] for n in range(7)
    ]
    again = reader(images[::-1])[::-1]
    for one, two in zip(found, again, strict=True):
        for left, right in zip(one, two, strict=True):
            assert (left.box == right.box).all()
            assert left[2] == right[2]


def test_a_gpu_that_onnxruntime_cannot_use_is_an_error():
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    entry = build("text", {"use": "text.TextBoxes"}, [])
    with pytest.raises(OperatorError, match=r"^text cannot be set up: .*install onnxruntime-gpu"):
        StageRunner({"text": entry}, {}, Device("cuda"), 8)


# --- how much is found -----------------------------------------------------------------------------


def test_drawn_words(data):
    """Four words over each of some photos, 10 to 48 pixels high, in many fonts, colours and angles."""
    scenes = rendered(photos(either(40, 125), data), lemmas(data))
    read = ours(TextReader(Device(threads=2), 800, 1.25, 0.4, True), [image for image, _ in scenes])
    found = figures(scenes, read) | parrots(scenes, read)
    assert found["recall"] > 0.93
    assert found["exact"] > 0.8
    assert found["fuzzy"] < 0.1
    assert found["auroc"] > 0.98


def test_street_photos(data):
    """RapidOCR's own settings cover 0.81 of the words of all photos."""
    scenes = street_scenes(data)[:: either(6, 1)]
    found = figures(scenes, ours(TextReader(Device(threads=2), 800, 1.25, 0.4, True), [i for i, _ in scenes]))
    assert found["recall"] > 0.75
    assert found["precision"] > 0.7
    assert found["exact"] > 0.5
