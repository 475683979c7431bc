"""The resize of many pictures at once gives what Pillow and torchvision give for each."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize
from torchvision.transforms.v2 import functional

from operators.algorithms.clip import resample
from operators.algorithms.clip.resample import Axis, Frame, Span

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

    def height_first(height: int, width: int) -> bool:
        down, across = Frame(10, crop=False).axes(height, width)
        return down.goes_first(across)

    for version, first in (13, True), (12, False):
        monkeypatch.setattr("operators.algorithms.clip.resample._pillow", lambda version=version: version)
        assert height_first(77, 43) is first
        assert not height_first(76, 43)
        assert not height_first(10, 5)  # no height is lost
        assert height_first(11, 5) is first


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


def test_only_what_is_kept_and_its_neighbours_is_resized():
    """2,000 pixels become 20, of which 8 to 11 are kept; the support of each is 200 to both sides."""
    assert Frame(4, crop=True).axes(2000, 400)[0] == Axis(2000, 20, 8, start=650, stop=1350)
    assert Frame(4, crop=True).axes(10, 10) == (Axis(10, 4, 0, start=0, stop=10),) * 2
    assert Frame(100, crop=True).axes(1, 4000)[1] == Axis(4000, 400_000, 199_950, start=1998, stop=2002)


@pytest.mark.parametrize("side", [(1, 4000), (4000, 1), (2, 3000)])
@pytest.mark.parametrize("size", [7, 24])
def test_pictures_of_extreme_shapes_equal_pillow(side, size):
    picture = pictures([side])[0]
    np.testing.assert_array_equal(Frame(size, True)([picture], "cpu")[0], with_pillow(picture, size))


def test_no_tall_picture_is_padded_to_the_width_of_a_broad_one(monkeypatch):
    shapes = []
    padded = resample._padded
    monkeypatch.setattr(
        resample, "_padded", lambda *args: shapes.append(padded(*args).shape) or padded(*args)
    )
    tall, broad = pictures([(2000, 500), (500, 2000)])
    found = Frame(4, crop=False)([tall, broad, tall], "cpu")
    assert [tuple(shape[:3]) for shape in shapes] == [(1, 500, 2000), (2, 2000, 500)]
    assert torch.equal(found[1], Frame(4, crop=False)([broad], "cpu")[0])
    assert torch.equal(found[0], found[2])


def test_groups_by_hand():
    def groups(*sides):
        return list(resample._groups(sides, [False] * len(sides)))

    assert groups(*[(300, 400)] * 33) == [list(range(32)), [32]]  # 32 of one product
    assert groups((2000, 1000), (1000, 1000), (999, 1000)) == [[2, 1, 0]]  # 6 million of 4 is padding enough
    assert groups((9000, 1000), *[(100, 100)] * 9) == [list(range(1, 10)), [0]]
    assert groups(*[(1, 70_000)] * 3) == [[0], [1], [2]]  # the weights of two would be many


def test_a_picture_that_would_be_huge_before_the_crop_is_never_made(monkeypatch):
    """1 x 40,000 pixels would become 224 x 8,960,000, of which 224 x 224 are kept."""
    frame = Frame(224, crop=True)
    assert frame.is_huge(1, 40_000)
    assert not frame.is_huge(1, 1337)  # 224 x 299,488
    assert frame.is_huge(1, 1338)  # 224 x 299,712
    assert not Frame(224, crop=False).is_huge(1, 40_000)
    monkeypatch.setattr(torch.nn.functional, "interpolate", None)
    broad = pictures([(1, 40_000)])[0]
    found = frame.quick(broad)
    assert (found == found[:1]).all(), "one row, enlarged"
    near = with_pillow(broad[:, 19_950:20_050], 224)  # 224 x 22,400
    assert np.abs(found.astype(int) - near).max() <= 1


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
