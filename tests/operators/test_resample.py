"""The resize of many pictures at once gives what Pillow and torchvision give for each."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize
from torchvision.transforms.v2 import functional

from operators.algorithms.resample import Frame, Span

SIDES = [(30, 40), (40, 30), (24, 24), (90, 25), (25, 90), (200, 150), (17, 11), (64, 333)]  # height, width
RANDOM = [tuple(side) for side in np.random.default_rng(1).integers(1, 200, (60, 2)).tolist()]


def pictures(sides=SIDES) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (height, width, 3), np.uint8) for height, width in sides]


def with_pillow(picture: np.ndarray, size: int, crop: bool = True) -> np.ndarray:
    resize = Resize(size if crop else (size, size), InterpolationMode.BICUBIC)
    steps = Compose([resize, CenterCrop(size)] if crop else [resize])
    return np.asarray(steps(Image.fromarray(picture)))


@pytest.mark.parametrize("crop", [True, False])
@pytest.mark.parametrize("size", [7, 24, 64])
def test_equals_pillow_to_the_bit(size, crop):
    many = pictures(SIDES + RANDOM)
    found = Frame(size, crop)(many, "cpu").numpy()
    assert found.shape == (len(many), size, size, 3)
    np.testing.assert_array_equal(found, [with_pillow(picture, size, crop) for picture in many])


def test_what_pillow_13_takes_first(monkeypatch):
    """It loses more than twice as much of its height as of its width: 66 and 33 are not, 67 and 33 are."""
    frame = Frame(10, crop=False)
    for version, first in (13, True), (12, False):
        monkeypatch.setattr("operators.algorithms.resample._pillow", lambda version=version: version)
        assert frame.height_first(77, 43) is first
        assert not frame.height_first(76, 43)
        assert not frame.height_first(10, 5)  # no height is lost
        assert frame.height_first(11, 5) is first


def test_a_picture_does_not_depend_on_its_group():
    together = Frame(24, crop=True)(pictures() * 5, "cpu")
    alone = [Frame(24, crop=True)([picture], "cpu")[0] for picture in pictures()]
    assert torch.equal(together, torch.stack(alone * 5))


def test_very_large_pictures_are_added_up_in_double_precision():
    large = pictures([(30, 2000)])
    np.testing.assert_array_equal(Frame(2, crop=False)(large, "cpu").numpy()[0, 0, 0], [127, 128, 127])


def test_tensors_and_arrays_are_alike():
    arrays = pictures()
    tensors = [torch.from_numpy(picture.copy()) for picture in arrays]
    assert torch.equal(Frame(24, crop=True)(tensors, "cpu"), Frame(24, crop=True)(arrays, "cpu"))


def test_spans_by_hand():
    assert Frame(224, crop=True).spans(240, 320) == (Span(224, 0), Span(298, 37))
    assert Frame(224, crop=True).spans(500, 100) == (Span(1120, 448), Span(224, 0))
    assert Frame(224, crop=False).spans(500, 100) == (Span(224, 0), Span(224, 0))


@pytest.mark.parametrize("crop", [True, False])
def test_the_quick_resize_of_one_picture_is_near(crop):
    smooth = np.asarray(Image.fromarray(pictures([(6, 8)])[0]).resize((320, 240)))
    found = Frame(64, crop).quick(smooth)
    assert found.shape == (64, 64, 3)
    assert found.dtype == np.uint8
    assert np.abs(found.astype(int) - Frame(64, crop)([smooth], "cpu")[0].numpy()).max() <= 2


@pytest.mark.filterwarnings("error")  # torch warns of locked arrays
@pytest.mark.parametrize("side", [*SIDES, (1, 9), (9, 1), (24, 23)])
@pytest.mark.parametrize("crop", [True, False])
def test_the_quick_resize_is_torchvisions(side, crop):
    (picture,) = pictures([side])
    tensor = torch.from_numpy(picture.copy()).permute(2, 0, 1)
    size = [24] if crop else [24, 24]
    resized = functional.resize(tensor, size, InterpolationMode.BICUBIC, antialias=True)
    expected = functional.center_crop(resized, [24, 24]).permute(1, 2, 0).numpy()
    picture.flags.writeable = False
    np.testing.assert_array_equal(Frame(24, crop).quick(picture), expected)
    assert not picture.flags.writeable


@pytest.mark.parametrize("side", [(2, 1), (1, 2), (9, 14)])
@pytest.mark.parametrize("crop", [True, False])
def test_the_quick_resize_heeds_the_pixels_whatever_their_order_in_memory(side, crop):
    (picture,) = pictures([side])
    expected = Frame(24, crop).quick(picture)
    mirrored = np.ascontiguousarray(picture[::-1])[::-1]
    for same in (np.asfortranarray(picture), mirrored, np.repeat(picture, 2, axis=1)[:, ::2]):
        np.testing.assert_array_equal(Frame(24, crop).quick(same), expected)
