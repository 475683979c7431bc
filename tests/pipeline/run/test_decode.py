"""Pixels equal Pillow's, an image that is refused has a reason, and slices are bounded."""

import io
import struct
import warnings
import zlib
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.run.decode import MAX_PIXELS, Decoder, decode, pixel_slices
from tests.support.samples import picture

pytestmark = pytest.mark.filterwarnings("ignore:Palette images")  # Pillow's


def encoded(image: Image.Image, format: str, **options) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def scene(mode: str = "RGB", size: tuple[int, int] = (61, 47)) -> Image.Image:
    """A picture with odd sides: decoders differ at the edge of subsampled chroma."""
    return Image.open(io.BytesIO(picture(3, *size))).convert("RGB").convert(mode)


def rotated() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: the camera was held upright
    return encoded(scene(), "JPEG", exif=exif)


def deep() -> Image.Image:
    return Image.fromarray(np.linspace(0, 65535, 61 * 47).reshape(47, 61).astype(np.uint16))


def transparent_palette() -> bytes:
    return encoded(scene().quantize(16), "PNG", transparency=bytes(range(16)))


SAMPLES = {
    "jpeg 4:2:0": encoded(scene(), "JPEG", quality=90, subsampling="4:2:0"),
    "jpeg 4:2:2": encoded(scene(), "JPEG", quality=75, subsampling="4:2:2"),
    "jpeg 4:4:4": encoded(scene(), "JPEG", quality=30, subsampling="4:4:4"),
    "jpeg progressive": encoded(scene(), "JPEG", progressive=True),
    "jpeg gray": encoded(scene("L"), "JPEG"),
    "jpeg CMYK": encoded(scene("CMYK"), "JPEG"),
    "jpeg EXIF": rotated(),
    "png": encoded(scene(), "PNG"),
    "png palette": encoded(scene().quantize(16), "PNG"),
    "png palette with transparency": transparent_palette(),
    "png RGBA": encoded(scene("RGBA"), "PNG"),
    "png gray": encoded(scene("L"), "PNG"),
    "png gray with alpha": encoded(scene("LA"), "PNG"),
    "png 1 bit": encoded(scene("1"), "PNG"),
    "png 16 bit": encoded(deep(), "PNG"),
    "webp": encoded(scene(), "WEBP", quality=80),
    "webp lossless RGBA": encoded(scene("RGBA"), "WEBP", lossless=True),
}


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("kind", [bytes, memoryview])
def test_equals_pillow(name, kind):
    pixels, reason = decode(kind(SAMPLES[name]))
    expected = np.asarray(Image.open(io.BytesIO(SAMPLES[name])).convert("RGB"))
    assert reason is None
    assert (pixels.dtype, pixels.shape) == (np.uint8, (47, 61, 3))
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


def png_header(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header claims a large size."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(64))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def jpeg_header(width: int, height: int) -> bytes:
    """A JPEG whose frame header claims another size."""
    data = bytearray(SAMPLES["jpeg 4:4:4"])
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (None, "no image"),
        (b"", "image cannot be decoded: unknown format"),
        (b"\xff\xd8", "image cannot be decoded: "),
        (b"<html>404</html>", "image cannot be decoded: unknown format"),
        (encoded(scene(), "GIF"), "image cannot be decoded: unknown format"),
        (SAMPLES["jpeg 4:2:0"][:-200], "image cannot be decoded: image file is truncated"),
        (SAMPLES["png"][:200], "image cannot be decoded: "),
        (SAMPLES["webp"][:100], "image cannot be decoded: "),
        (SAMPLES["png"][:60] + b"garbage" + SAMPLES["png"][67:], "image cannot be decoded: "),
        (png_header(60_000, 60_000), f"image too large: over {MAX_PIXELS} pixels"),
        (png_header(10_000, 10_000), f"image too large: 10000 x 10000, at most {MAX_PIXELS} pixels"),
        (jpeg_header(60_000, 60_000), f"image too large: over {MAX_PIXELS} pixels"),
        (jpeg_header(10_000, 10_000), f"image too large: 10000 x 10000, at most {MAX_PIXELS} pixels"),
    ],
)
def test_refused_with_a_reason(data, reason):
    [(pixels, why)] = Decoder(1)([data])
    assert pixels is None
    assert why.startswith(reason)
    assert "\n" not in why


@given(
    st.binary(max_size=300),
    st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBP"]),
)
def test_no_bytes_raise(noise, magic):
    pixels, reason = decode(magic + noise)
    assert (pixels is None) == (reason is not None)


@given(st.sampled_from(["jpeg 4:2:0", "png", "webp"]), st.integers(0, 400), st.binary(min_size=1, max_size=8))
def test_no_flipped_bytes_raise(name, place, noise):
    data = bytearray(SAMPLES[name])
    data[place : place + len(noise)] = noise
    [(pixels, reason)] = Decoder(1)([bytes(data)])
    assert (pixels is None) == (reason is not None)


@pytest.mark.parametrize("name", ["jpeg 4:2:0", "jpeg CMYK", "png", "webp"])
def test_the_bound_is_on_pixels_before_they_are_decoded(name, monkeypatch):
    monkeypatch.setattr("pipeline.run.decode.MAX_PIXELS", 61 * 47 - 1)
    assert decode(SAMPLES[name]) == (None, "image too large: 61 x 47, at most 2866 pixels")
    monkeypatch.setattr("pipeline.run.decode.MAX_PIXELS", 61 * 47)
    assert decode(SAMPLES[name])[1] is None


# --- the decoder -----------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 4])
def test_decoder_counts_and_keeps_order(threads):
    decoder = Decoder(threads)
    batch = [*SAMPLES.values(), None, b"garbage"]
    found = decoder(batch)
    assert decoder.decoded == len(batch) - 1
    for (pixels, _), data in zip(found, batch, strict=True):
        expected = decode(data)[0]
        assert (pixels is None and expected is None) or (pixels == expected).all()


def test_decoding_on_threads_leaves_warnings_as_they_were():
    """warnings.catch_warnings is not safe in threads: filters could stay changed."""
    before = warnings.filters.copy()
    Decoder(8)([transparent_palette(), png_header(10_000, 10_000)] * 40)
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
