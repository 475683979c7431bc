"""The size of a usual JPEG, against libjpeg's and Pillow's, for pictures of all kinds and for broken ones."""

import io
import random
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.pool import fields
from pipeline.pool.jpeg_header import MOST_SEGMENTS, usual_jpeg_size
from pipeline.run import decode as decoding
from pipeline.run.decode import decode

SCAN = b"\xff\xda"


def jpeg(size: tuple[int, int] = (48, 32), mode: str = "RGB", **options: Any) -> bytes:
    """A picture with a gradient."""
    file = io.BytesIO()
    pixels = np.add.outer(np.arange(size[1]), np.arange(size[0])).astype(np.uint8)
    Image.fromarray(pixels).convert(mode).save(file, "JPEG", **options)
    return file.getvalue()


@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_usual_pictures(subsampling: int) -> None:
    assert usual_jpeg_size(jpeg((48, 32), subsampling=subsampling)) == (48, 32)
    assert usual_jpeg_size(memoryview(jpeg((640, 3), "L"))) == (640, 3)


def test_markers_before_the_frame_are_passed() -> None:
    exif = Image.Exif()
    exif[274] = 6  # the orientation, which changes no size
    plain = jpeg(exif=exif, comment=b"a comment", icc_profile=bytes(70_000))
    assert usual_jpeg_size(plain) == (48, 32)
    comment = b"\xff\xfe\0\2"
    assert usual_jpeg_size(plain[:2] + comment * (MOST_SEGMENTS - 13) + plain[2:]) == (48, 32)
    assert usual_jpeg_size(plain[:2] + comment * MOST_SEGMENTS + plain[2:]) is None


def test_what_libjpeg_must_be_asked_for() -> None:
    usual = jpeg()
    frame, scan = usual.index(b"\xff\xc0"), usual.index(SCAN)
    unusual = {
        "progressive": jpeg(progressive=True),
        "four colours": jpeg(mode="CMYK"),
        "twelve bits": usual[: frame + 4] + b"\x0c" + usual[frame + 5 :],
        "height zero": usual[: frame + 5] + b"\0\0" + usual[frame + 7 :],
        "two frames": usual[:frame] + usual[frame : frame + 19] + usual[frame:],
        "a scan of one colour": usual[: scan + 2] + b"\0\x08\1\1\0\0\x3f\0" + usual[scan + 14 :],
        "bytes between markers": usual[:frame] + b"\xff" + usual[frame:],
        "a segment of no length": usual[:2] + b"\xff\xfe\0\0" + usual[2:],
        "cut in the header": usual[: frame + 6],
        "cut behind it": usual[: scan + 14],
        "no picture": b"\xff\xd8",
    }
    assert {name: usual_jpeg_size(data) for name, data in unusual.items()} == dict.fromkeys(unusual)


def test_broken_headers_have_the_size_and_the_pixels_that_libjpeg_and_pillow_find(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Bytes of the header are changed, removed, or put in."""
    draw = random.Random(5)
    sound = [jpeg((40, 24), subsampling=s) for s in (0, 1, 2)] + [jpeg((40, 24), "L"), jpeg(progressive=True)]
    broken: list[bytes] = []
    for _ in range(1_500):
        changed = bytearray(draw.choice(sound))
        for _ in range(draw.randint(1, 3)):
            at = draw.randrange(2, changed.find(SCAN) + 20 if SCAN in changed else len(changed))
            if draw.random() < 0.7:
                changed[at : at + 1] = bytes(
                    [draw.choice((0, 1, 3, 4, 0xC0, 0xDA, 0xFF, draw.randrange(256)))]
                )
            else:
                changed[at : at + draw.randint(0, 2)] = draw.choice((b"", b"\xff", b"\xff\xfe\0\2"))
        broken.append(bytes(changed))
    found = [(fields.image_size(data), decode(data)) for data in broken]
    usual = sum(usual_jpeg_size(data) is not None for data in broken)
    for module in (fields, decoding):
        monkeypatch.setattr(module, "usual_jpeg_size", lambda data: None)
    for data, (size, (pixels, reason)) in zip(broken, found, strict=True):
        assert fields.image_size(data) == size, data
        expected, why = decode(data)
        assert reason == why
        assert (pixels is None) == (expected is None)
        if pixels is not None and expected is not None:
            assert np.array_equal(pixels, expected)
    assert 100 < usual < 1_400
