"""JPEGs that a device decodes: torchvision's nvJPEG on a GPU.

    decoder = DeviceDecoder("cuda")
    decoder([(jpeg, True), (png, False)], rest)    # [(tensor, None), (tensor, None)]

A GPU has a unit of its own for this: 20,000 pictures per second of 640 pixels on an H100, 7,000 of 1,280. Its
pixels are not those of libjpeg-turbo, since both may round as they like.
"""

from collections.abc import Callable, Sequence
from typing import Any

ON_DEVICE = 64  # JPEGs of one call; if the device refuses one of them, the CPU decodes them

AT_ONCE = -1  # priority of a stream whose small kernels do not queue behind those of a network

Data = bytes | memoryview
Decoded = tuple[Any, str | None]  # (pixels, None) or (None, reason)


class DeviceDecoder:
    """torchvision's decoder of JPEGs on a device."""

    def __init__(self, device: str) -> None:
        import torch

        cuda: Any = torch.cuda
        self.device = device
        self.stream = cuda.Stream(priority=AT_ONCE) if device == "cuda" else None

    def __call__(
        self,
        items: Sequence[tuple[Data | None, bool]],
        rest: Callable[[Sequence[Data | None]], list[Decoded]],
    ) -> list[Decoded]:
        """(tensor, None) or (None, reason) for images, each with whether the device may decode it. `rest`
        decodes the others, and those that the device refuses."""
        import torch

        found: list[Decoded | None] = [None] * len(items)
        mine = [place for place, (_, fits) in enumerate(items) if fits]
        with torch.cuda.stream(self.stream):  # of None: nothing
            for start in range(0, len(mine), ON_DEVICE):
                places = mine[start : start + ON_DEVICE]
                for place, pixels in zip(places, self._decoded([items[p][0] for p in places]), strict=False):
                    found[place] = (pixels, None)
            others = [place for place, done in enumerate(found) if done is None]
            for place, (pixels, reason) in zip(others, rest([items[p][0] for p in others]), strict=True):
                found[place] = (None if pixels is None else torch.tensor(pixels, device=self.device), reason)
        if self.stream is not None:
            self.stream.synchronize()
        return [done for done in found if done is not None]

    def _decoded(self, data: Sequence[Data | None]) -> list[Any]:
        """(h, w, 3) uint8 tensors of JPEGs; none if the device refuses one of them."""
        import torch
        from torchvision.io import ImageReadMode, decode_jpeg

        encoded = [torch.frombuffer(bytearray(item or b""), dtype=torch.uint8) for item in data]
        try:
            pixels = decode_jpeg(encoded, mode=ImageReadMode.RGB, device=self.device)
        except RuntimeError:
            return []
        return [picture.permute(1, 2, 0) for picture in pixels]
