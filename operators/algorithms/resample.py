"""Pillow's bicubic resize and centre crop for many pictures at once, as matrix products on any torch device.

    frame = Frame(size=224, crop=True)
    batch = frame(pictures)     # (h, w, 3) uint8 tensors of any sizes -> (n, 224, 224, 3) uint8

A separable resize is one matrix per axis: rows @ picture @ columns. Pictures of different sizes are padded to
the largest of their group, and the matrices have zeros there, so that one product resizes a whole group. A
GPU does this in single precision faster than it does anything else with a picture.

Source: Pillow's `ImagingResample` (libImaging/Resample.c, version 12): bicubic with a = -0.5, the support
    grows when it shrinks, weights rounded to 22 bits, columns before rows, rounded to uint8 in between; the
    sizes are those of torchvision's Resize and CenterCrop, as open_clip uses them.
Differs: sums are in float32 and not in integers, so about one value in 100,000 is off by one.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

WEIGHT = 1 << 22  # Pillow's weights are multiples of 1 / WEIGHT
SUPPORT = 2.0  # of the bicubic kernel, in pixels of the larger scale
GROUP = 32  # pictures of one product: similar sizes, so that little is padding


class Frame(NamedTuple):
    """What a model sees of a picture: (size, size) pixels. `crop`: the shorter side becomes `size` and the
    middle is cut out; otherwise both sides become `size`."""

    size: int
    crop: bool

    def __call__(self, pictures: Sequence[Any]) -> Any:
        """n pictures, (h, w, 3) uint8 on one device -> (n, size, size, 3) uint8 there."""
        import torch

        order = sorted(range(len(pictures)), key=lambda i: (pictures[i].shape[0], pictures[i].shape[1]))
        out = torch.empty((len(pictures), self.size, self.size, 3), dtype=torch.uint8, device=pictures[0].device)
        for start in range(0, len(order), GROUP):
            places = order[start : start + GROUP]
            out[places] = self._group([pictures[place] for place in places])
        return out

    def _group(self, pictures: Sequence[Any]) -> Any:
        """The same for pictures of one product."""
        import torch

        device = pictures[0].device
        sides = [[int(picture.shape[axis]) for picture in pictures] for axis in (0, 1)]
        padded = torch.zeros((len(pictures), max(sides[0]), max(sides[1]), 3), dtype=torch.uint8, device=device)
        for row, picture in zip(padded, pictures, strict=True):
            row[: picture.shape[0], : picture.shape[1]] = picture
        spans = [self.spans(height, width) for height, width in zip(*sides, strict=True)]
        down, across = (
            _matrices(sides[axis], [span[axis] for span in spans], self.size, device) for axis in (0, 1)
        )
        pixels = padded.permute(0, 3, 1, 2).float()  # (n, 3, h, w)
        narrow = _rounded(pixels @ across.mT[:, None])
        return _rounded(down[:, None] @ narrow).permute(0, 2, 3, 1).to(torch.uint8)

    def spans(self, height: int, width: int) -> tuple["Span", "Span"]:
        """How both sides, first down, then across, are resized and cut."""
        if not self.crop:
            return Span(self.size, 0), Span(self.size, 0)
        shorter, longer = sorted((height, width))
        long = int(self.size * longer / shorter)
        new = (self.size, long) if height <= width else (long, self.size)
        down, across = (Span(length, round((length - self.size) / 2)) for length in new)
        return down, across


class Span(NamedTuple):
    """A side becomes `length` pixels; what is kept begins at pixel `first`."""

    length: int
    first: int


def _rounded(values: Any) -> Any:
    """To whole numbers in 0..255, half up, as floats."""
    return values.add_(0.5).floor_().clamp_(0, 255)


def _matrices(sides: Sequence[int], spans: Sequence[Span], size: int, device: Any) -> Any:
    """(n, size, max(sides)) float32: the weights of each picture's pixels along one axis."""
    import torch

    def column(values: Sequence[int]) -> Any:
        return torch.tensor(values, dtype=torch.float64, device=device)[:, None, None]

    source, length = column(sides), column([span.length for span in spans])
    first = column([span.first for span in spans])
    scale = source / length
    stretch = scale.clamp(min=1)
    centre = (first + torch.arange(size, device=device)[None, :, None] + 0.5) * scale
    pixel = torch.arange(max(sides), device=device)[None, None, :]
    low = (centre - SUPPORT * stretch + 0.5).trunc().clamp(min=0)
    high = torch.minimum((centre + SUPPORT * stretch + 0.5).trunc(), source)
    weights = _cubic((pixel - centre + 0.5) / stretch) * ((pixel >= low) & (pixel < high))
    weights /= weights.sum(-1, keepdim=True)
    return ((weights * WEIGHT).round_() / WEIGHT).float()


def _cubic(x: Any) -> Any:
    """The bicubic kernel with a = -0.5."""
    import torch

    x = x.abs()
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x < 1, near, torch.where(x < 2, far, 0))
