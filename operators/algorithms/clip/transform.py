"""open_clip's transform of a picture, cut in two, and whether a device does the first part to the bit."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from operators.algorithms.clip.resample import Frame

# Heights and widths of pictures on which a device is checked. Pillow 13 resizes the height of one first.
CHECKED = ((300, 400), (400, 300), (480, 640), (60, 50), (1500, 1200), (250, 900), (900, 250), (224, 700))


def agrees(frame: Frame, head: Callable[[np.ndarray], np.ndarray], device: str) -> bool:
    """Whether a frame on this device makes the bytes that `head` makes, of pictures of noise."""
    random = np.random.default_rng(0)
    pictures = [random.integers(0, 256, (height, width, 3), np.uint8) for height, width in CHECKED]
    found = frame(pictures, device).cpu().numpy()
    return all(np.array_equal(made, head(picture)) for made, picture in zip(found, pictures, strict=True))


def split(
    transform: Any,
) -> tuple[Callable[[np.ndarray], np.ndarray], Callable[[Any], Any], Frame | None]:
    """open_clip's transform in two parts: Pillow's steps, per image and on threads, and the arithmetic
    (ToTensor, Normalize), per batch and on the device. The same operations in the same order give the same
    numbers. And what the first part does, if it is a bicubic resize, with a centre crop or without."""
    from PIL import Image
    from torchvision.transforms import Normalize, ToTensor

    *steps, last, normalize = transform.transforms
    if not (isinstance(last, ToTensor) and isinstance(normalize, Normalize)):
        return lambda image: transform(Image.fromarray(image)).numpy(), lambda batch: batch, None

    frame = _frame(steps)

    def head(image: np.ndarray) -> np.ndarray:
        if frame is not None and frame.is_huge(*image.shape[:2]):
            return np.asarray(frame([image], "cpu")[0])  # the same bytes
        picture = Image.fromarray(image)
        for step in steps:
            picture = step(picture)
        return np.asarray(picture)

    def tail(batch: Any) -> Any:
        return normalize(batch.permute(0, 3, 1, 2).contiguous().float().div(255))

    return head, tail, frame


def _frame(steps: Sequence[Any]) -> Frame | None:
    """What the steps do, if a Frame does the same; others convert to RGB, which pictures are."""
    from torchvision.transforms import CenterCrop, InterpolationMode, Resize

    resize, *others = steps
    if not isinstance(resize, Resize) or resize.interpolation is not InterpolationMode.BICUBIC:
        return None
    crops = [step for step in others if not callable(step) or isinstance(step, CenterCrop)]
    size = resize.size
    if isinstance(size, int) or len(size) == 1:
        side = size if isinstance(size, int) else size[0]
        cut = [tuple(step.size) for step in crops]
        return Frame(side, crop=True) if cut == [(side, side)] else None
    return Frame(size[0], crop=False) if size[0] == size[1] and not crops else None
