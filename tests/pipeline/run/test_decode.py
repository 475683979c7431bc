"""Pixels equal Pillow's, an image that is refused has a reason, and slices are bounded."""

import io
import sys
import warnings
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.pool.fields import image_size, picture_formats
from pipeline.recipe.limits import DEFAULTS
from pipeline.run.decode import decode, fits_device
from pipeline.run.stage.decoder import Decoder, pixel_slices
from tests.support.bad_images import png_claims
from tests.support.pictures import PICTURES, encoded, scene, transparent_palette

pytestmark = pytest.mark.filterwarnings("ignore:Palette images")  # Pillow's


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("kind", [bytes, memoryview, lambda data: memoryview(pa.py_buffer(data))])
def test_equals_pillow(name, kind):
    pixels, reason = decode(kind(PICTURES[name]))
    expected = np.asarray(Image.open(io.BytesIO(PICTURES[name])).convert("RGB"))
    assert reason is None
    assert (pixels.dtype, pixels.shape) == (np.uint8, expected.shape)
    assert image_size(PICTURES[name]) == (61, 47) or "EXIF" in name
    np.testing.assert_array_equal(pixels, expected)
    assert not pixels.flags.writeable


def test_real_photos_equal_pillow(data):
    import tarfile

    with tarfile.open(data / "photos" / "00000.tar") as tar:
        photos = [tar.extractfile(m).read() for m in tar.getmembers()[:90] if m.name.endswith(".jpg")]
    assert len(photos) == 30
    for photo in photos:
        np.testing.assert_array_equal(
            decode(photo)[0], np.asarray(Image.open(io.BytesIO(photo)).convert("RGB"))
        )


# --- refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (None, "no image"),
        (b"", "image cannot be decoded: unknown format"),
        (b"\xff\xd8", "image cannot be decoded: "),
        (b"\0\0\0\x18ftypheic" + bytes(90), "image cannot be decoded: unknown format"),
        (b"<html>404</html>", "image cannot be decoded: unknown format"),
        (encoded(scene(), "ICO"), "image cannot be decoded: unknown format"),
        (PICTURES["jpeg 4:2:0"][:-200], "image cannot be decoded: image file is truncated"),
        (PICTURES["png"][:200], "image cannot be decoded: "),
        (PICTURES["webp"][:100], "image cannot be decoded: "),
        (PICTURES["png"][:60] + b"garbage" + PICTURES["png"][67:], "image cannot be decoded: "),
    ],
)
def test_refused_with_a_reason(data, reason):
    [(pixels, why)] = Decoder(1)([data])
    assert pixels is None
    assert why.startswith(reason)
    assert "\n" not in why


def test_a_jpeg_whose_colours_are_sampled_4_4_1_is_decoded_by_pillow():
    """A picture of one colour: its data is zeros however often the colours are sampled."""
    file = io.BytesIO()
    Image.new("RGB", (16, 32), (128, 128, 128)).save(file, "JPEG", subsampling=0)
    picture = bytearray(file.getvalue())
    picture[picture.index(b"\xff\xc0") + 11] = 0x14  # one column of four rows of grey for each of the colours
    pixels, reason = decode(bytes(picture))
    assert reason is None
    assert pixels.shape == (32, 16, 3)
    assert image_size(bytes(picture)) == (16, 32)
    assert not fits_device(bytes(picture), DEFAULTS)


def test_heic_shows_the_scene():
    """Lossy, so compared with some room. EXIF turns nothing, as with the other formats."""
    expected = np.asarray(scene()).astype(int)
    for name in ("heic", "heic EXIF", "heic of tiles", "heic RGBA"):
        assert np.abs(decode(PICTURES[name])[0] - expected).mean() < 8, name


@pytest.mark.parametrize("name", ["heic", "heif"])
def test_without_pillow_heif_the_message_says_how_to_install_it(monkeypatch, name):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    picture_formats.cache_clear()
    try:
        pixels, reason = decode(PICTURES[name])
        assert image_size(PICTURES[name]) == (None, None)
    finally:
        picture_formats.cache_clear()
    assert pixels is None
    assert reason == (
        "image cannot be decoded: HEIC is read by pillow-heif, which is not installed: "
        "pip install 'winnow-curation[heic]'"
    )


@given(
    st.binary(max_size=300),
    st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBP"]),
)
def test_no_bytes_raise(noise, magic):
    pixels, reason = decode(magic + noise)
    assert (pixels is None) == (reason is not None)


@given(
    st.sampled_from(["jpeg 4:2:0", "png", "webp", "heic"]),
    st.integers(0, 400),
    st.binary(min_size=1, max_size=8),
)
def test_no_flipped_bytes_raise(name, place, noise):
    data = bytearray(PICTURES[name])
    data[place : place + len(noise)] = noise
    [(pixels, reason)] = Decoder(1)([bytes(data)])
    assert (pixels is None) == (reason is not None)


# --- the decoder -----------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 4])
def test_decoder_counts_and_keeps_order(threads):
    decoder = Decoder(threads)
    batch = [*PICTURES.values(), None, b"garbage"]
    found = decoder(batch)
    assert decoder.decoded == len(batch) - 1
    for (pixels, _), data in zip(found, batch, strict=True):
        expected = decode(data)[0]
        assert (pixels is None and expected is None) or (pixels == expected).all()


def test_decoding_on_threads_leaves_warnings_as_they_were():
    """warnings.catch_warnings is not safe in threads: filters could stay changed."""
    before = warnings.filters.copy()
    Decoder(8)([transparent_palette(), png_claims(10_000, 10_000)] * 40)
    assert warnings.filters == before


# --- slices ----------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 100), max_size=60), st.integers(1, 9), st.integers(1, 150))
def test_slices_cover_all_rows_within_bounds(pixels, rows, budget):
    slices = pixel_slices(pixels, rows, budget)
    assert [row for start, stop in slices for row in range(start, stop)] == list(range(len(pixels)))
    for start, stop in slices:
        assert 1 <= stop - start <= rows
        assert sum(pixels[start:stop]) <= budget or stop - start == 1
    for (start, stop), _ in pairwise(slices):  # none is shorter than it must be
        assert stop - start == rows or sum(pixels[start : stop + 1]) > budget


def test_slices_by_hand():
    assert pixel_slices([], 4, 10) == []
    assert pixel_slices([5, 5, 5], 4, 10) == [(0, 2), (2, 3)]
    assert pixel_slices([50, 1, 1], 4, 10) == [(0, 1), (1, 3)]
    assert pixel_slices([0] * 5, 2, 10) == [(0, 2), (2, 4), (4, 5)]
