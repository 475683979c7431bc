"""Pillow's bicubic resize and a centre crop for many pictures at once, as matrix products on any device.

    frame = Frame(size=224, crop=True)
    batch = frame(pictures, "cuda")   # (h, w, 3) uint8 of any sizes -> (n, 224, 224, 3) uint8 tensor

A separable resize is one matrix per axis. Pictures of similar sizes are padded to the largest of their group,
and the matrices have zeros there, so that one product resizes a whole group. The arithmetic is Pillow's, in
integers: its weights have 23 bits, each of which is split in two that float32 multiplies and adds without
rounding. So a picture's result does not depend on its group, or on the device.

Source: Pillow's libImaging/Resample.c: bicubic with a = -0.5, the support grows when a picture shrinks, width
    before height, rounded to uint8 in between; since Pillow 13 height before width, if a picture loses more
    than twice as much of its height. The sizes are those of torchvision's Resize and CenterCrop.
Differs: nothing. Results are those of the Pillow that is installed, to the bit.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

BITS = 22  # Pillow's weights are multiples of 2 ** -BITS
LOW_BITS = 11  # of a weight, in the second product
EXACT = 1 << 24  # float32 holds every integer up to here
SUPPORT = 2.0  # of the bicubic kernel, in pixels of the larger scale
HEIGHT_FIRST = 13  # the version of Pillow since which it may take the height first
GROUP = 32  # pictures of one product: similar sizes, so that little is padding
PADDED = 3  # times as many pixels as its pictures a group may have with its padding
SMALL = 1 << 20  # pixels of a group whose padding costs less than a product of its own
LONG = 1 << 17  # pictures of a group times its longest side: 230 MB of weights for 224 pixels
WHOLE = 1 << 26  # pixels before the crop that Pillow and torch may be asked to make: 256 MiB

Picture = Any  # (h, w, 3) uint8: an array of numpy, or a tensor on the device


class Frame(NamedTuple):
    """What a model sees of a picture: (size, size) pixels. `crop`: the shorter side becomes `size` and the
    middle is cut out; otherwise both sides become `size`."""

    size: int
    crop: bool

    def __call__(self, pictures: Sequence[Picture], device: str) -> Any:
        """n pictures, at least one, -> (n, size, size, 3) uint8 on the device."""
        import torch

        sides = [tuple(picture.shape[:2]) for picture in pictures]
        axes = [self.axes(*side) for side in sides]
        seen = [
            picture[down.start : down.stop, across.start : across.stop]
            for picture, (down, across) in zip(pictures, axes, strict=True)
        ]
        first = [down.goes_first(across) for down, across in axes]
        groups = list(_groups([tuple(picture.shape[:2]) for picture in seen], first))
        found = [
            self._group(
                [seen[place] for place in group], [axes[place] for place in group], first[group[0]], device
            )
            for group in groups
        ]
        places = torch.tensor(np.argsort([place for group in groups for place in group]))
        return torch.cat(found)[places.to(device, non_blocking=True)]

    def quick(self, picture: np.ndarray) -> np.ndarray:
        """(h, w, 3) uint8 -> (size, size, 3) uint8 on the CPU, by torch's resize of bytes: several times as
        fast as Pillow's, with other rounding."""
        import torch

        if self.is_huge(*picture.shape[:2]):
            return np.asarray(self([picture], "cpu")[0])
        down, across = self.spans(*picture.shape[:2])
        pixels = torch.from_numpy(_unlocked(picture).reshape(1, *picture.shape)).permute(0, 3, 1, 2)
        size = [down.length, across.length]
        small = torch.nn.functional.interpolate(pixels, size, mode="bicubic", antialias=True)
        whole = small[0].permute(1, 2, 0).numpy()
        return whole[down.first : down.first + self.size, across.first : across.first + self.size]

    def _group(
        self,
        pictures: Sequence[Picture],
        axes: Sequence[tuple["Axis", "Axis"]],
        height_first: bool,
        device: str,
    ) -> Any:
        """The same for pictures of one product, in order, of which there is only what `axes` says."""
        padded = _padded(pictures, device)
        down, across = (Weights.of([axis[way] for axis in axes], self.size, device) for way in (0, 1))
        if height_first:
            return self._across(self._down(padded, down), across)
        return self._down(self._across(padded, across), down)

    def _across(self, pixels: Any, axis: "Weights") -> Any:
        """(n, h, w, 3) -> (n, h, size, 3)."""
        count, height, width, _ = pixels.shape
        lines = pixels.permute(0, 1, 3, 2).reshape(count, height * 3, width)  # of one channel each
        return axis.columns(lines).reshape(count, height, 3, self.size).permute(0, 1, 3, 2)

    def _down(self, pixels: Any, axis: "Weights") -> Any:
        """(n, h, w, 3) -> (n, size, w, 3)."""
        count, height, width, _ = pixels.shape
        return axis.rows(pixels.reshape(count, height, width * 3)).reshape(count, self.size, width, 3)

    def axes(self, height: int, width: int) -> tuple["Axis", "Axis"]:
        """What is needed of the sides, first down, then across."""
        down, across = self.spans(height, width)
        return Axis.of(height, down, self.size), Axis.of(width, across, self.size)

    def is_huge(self, height: int, width: int) -> bool:
        """Whether resizing the whole picture before the crop would take more than 256 MiB. One of 1 x 40,000
        pixels, a file of a few hundred bytes, would take 8 GB."""
        down, across = self.spans(height, width)
        return down.length * across.length > WHOLE

    def spans(self, height: int, width: int) -> tuple["Span", "Span"]:
        """How the sides, first down, then across, are resized and cut."""
        if not self.crop:
            return Span(self.size, 0), Span(self.size, 0)
        shorter, longer = sorted((height, width))
        long = int(self.size * longer / shorter)
        new = (self.size, long) if height <= width else (long, self.size)
        down, across = (Span(length, round((length - self.size) / 2)) for length in new)
        return down, across


@cache
def _pillow() -> int:
    """The major version of the Pillow that is installed."""
    import PIL

    return int(PIL.__version__.split(".")[0])


def _groups(sides: Sequence[tuple[int, int]], first: Sequence[bool]) -> Iterator[list[int]]:
    """Pictures with these heights and widths, by place, as groups for one product each: of about the same
    size, so that no tall picture is padded to the width of a broad one. `first`: those that take the height
    first have groups of their own."""
    group: list[int] = []
    for place in sorted(range(len(sides)), key=lambda place: (first[place], sides[place])):
        if group and (
            first[place] != first[group[0]] or not _fit([sides[other] for other in (*group, place)])
        ):
            yield group
            group = []
        group.append(place)
    if group:
        yield group


def _fit(sides: Sequence[tuple[int, int]]) -> bool:
    """Whether pictures with these heights and widths may share a product."""
    height, width = (max(side[axis] for side in sides) for axis in (0, 1))
    padded, own = len(sides) * height * width, sum(height * width for height, width in sides)
    little = padded <= max(SMALL, PADDED * own) and len(sides) * max(height, width) <= LONG
    return little and len(sides) <= GROUP


def _unlocked(picture: np.ndarray) -> np.ndarray:
    """The same pixels without the lock, to be read only. torch warns of locked arrays, and to copy 3 million
    pixels takes half as long as to resize them. Those of another order are copied: torch would take no
    mirrored ones, and resize some by another kernel."""
    picture = np.ascontiguousarray(picture)
    interface = {**picture.__array_interface__, "data": (picture.ctypes.data, False)}
    return np.asarray(SimpleNamespace(__array_interface__=interface, owner=picture))


class Span(NamedTuple):
    """A side becomes `length` pixels; what is kept begins at pixel `first`."""

    length: int
    first: int


class Axis(NamedTuple):
    """A side of `source` pixels becomes `length`, of which some are kept from `first` on. They are made of
    the pixels `start` to `stop`."""

    source: int
    length: int
    first: int
    start: int
    stop: int

    @classmethod
    def of(cls, source: int, span: Span, size: int) -> "Axis":
        """With `size` pixels kept."""
        scale = source / span.length
        reach = SUPPORT * max(1.0, scale)
        start = max(0, int((span.first + 0.5) * scale - reach + 0.5))
        stop = min(source, int((span.first + size - 0.5) * scale + reach + 0.5))
        return cls(source, span.length, span.first, start, stop)

    def goes_first(self, across: "Axis") -> bool:
        """Whether Pillow resizes this height before the width `across`."""
        lost, lost_across = self.source - self.length, across.source - across.length
        return _pillow() >= HEIGHT_FIRST and lost > max(0, 2 * lost_across)


class Weights(NamedTuple):
    """The weights of each picture's pixels along one axis, (n, size, most pixels): `high` times
    2 ** LOW_BITS plus `low` are Pillow's integers. `low` is None if float32 could round a sum: `high` is then
    all of them, in float64."""

    high: Any
    low: Any | None

    @classmethod
    def of(cls, axes: Sequence[Axis], size: int, device: str) -> "Weights":
        """Of pictures with these sides."""
        import torch

        numbers = torch.tensor([axis[:4] for axis in axes])
        source, length, first, start = numbers.double().to(device)[:, :, None, None].unbind(1)
        weights = _weights(source, length, first, start, size, max(axis.stop - axis.start for axis in axes))
        stretch = max(axis.source / axis.length for axis in axes)
        taps = 2 * SUPPORT * max(1.0, stretch) + 1
        if taps * 255 * (1 << (LOW_BITS - 1)) >= EXACT:
            return cls(weights, None)
        high = (weights / (1 << LOW_BITS)).round_()
        return cls(high.float(), weights.sub_(high, alpha=1 << LOW_BITS).float())

    def columns(self, lines: Any) -> Any:
        """(n, m, side) uint8 -> (n, m, size) uint8."""
        return self._rounded(lambda weights, values: values @ weights.mT, lines)

    def rows(self, lines: Any) -> Any:
        """(n, side, m) uint8 -> (n, size, m) uint8."""
        return self._rounded(lambda weights, values: weights @ values, lines)

    def _rounded(self, product: Callable[[Any, Any], Any], lines: Any) -> Any:
        """A product with the weights, rounded as Pillow does."""
        import torch

        values = lines.to(self.high.dtype)
        total = product(self.high, values).to(torch.int32)
        if self.low is not None:
            total = (total << LOW_BITS) + product(self.low, values).to(torch.int32)
        return ((total + (1 << (BITS - 1))) >> BITS).clamp_(0, 255).to(torch.uint8)


def _weights(source: Any, length: Any, first: Any, start: Any, size: int, longest: int) -> Any:
    """(n, size, longest) float64, whole numbers: Pillow's weights of the pixels from `start` on of sides of
    `source` pixels, (n, 1, 1), that become `length`, of which `size` are kept from `first` on."""
    import torch

    scale = source / length
    stretch = scale.clamp(min=1)
    centre = (first + torch.arange(size, device=source.device)[None, :, None] + 0.5) * scale
    pixel = start + torch.arange(longest, device=source.device)[None, None, :]
    low = (centre - SUPPORT * stretch + 0.5).trunc_().clamp_(min=0)
    high = torch.minimum((centre + SUPPORT * stretch + 0.5).trunc_(), source)
    weights = _cubic((pixel - centre + 0.5) / stretch).mul_((pixel >= low) & (pixel < high))
    scaled = weights.div_(weights.sum(-1, keepdim=True)).mul_(1 << BITS)
    return scaled.add_(scaled.sign(), alpha=0.5).trunc_()


def _cubic(x: Any) -> Any:
    """The bicubic kernel with a = -0.5."""
    import torch

    x = x.abs()
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x < 1, near, torch.where(x < 2, far, 0))


def _padded(pictures: Sequence[Picture], device: str) -> Any:
    """(n, h, w, 3) uint8 on the device, each picture at the upper left; the rest may be anything. Arrays go
    through pinned memory, so that the copy does not wait."""
    import torch

    height, width = (max(picture.shape[axis] for picture in pictures) for axis in (0, 1))
    from_numpy = all(isinstance(picture, np.ndarray) for picture in pictures)
    pinned = from_numpy and device != "cpu"
    place = "cpu" if from_numpy else device
    padded = torch.empty(
        (len(pictures), height, width, 3), dtype=torch.uint8, device=place, pin_memory=pinned
    )
    rows = padded.numpy() if from_numpy else padded
    for row, picture in zip(rows, pictures, strict=True):
        row[: picture.shape[0], : picture.shape[1]] = picture
    return padded.to(device, non_blocking=True)
