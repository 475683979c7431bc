"""Mean colours, for a pool whose pictures are 32 pixels high.

Columns
    vector  Array(Float16, 3)  mean red, green and blue as a unit vector; null without an image
    light   Float64            their mean, in [0, 255]; null without an image
Source: none; planted.
Differs: nothing.
"""

import numpy as np
import polars as pl

from pipeline.operator import ImageScore


class Colour(ImageScore):
    """Mean colour and lightness of a picture."""

    writes = {"vector": pl.Array(pl.Float16, 3), "light": pl.Float64}

    def score(self, batch, images):
        means = [None if image is None else image.mean((0, 1), dtype=np.float64) + 1 for image in images]
        vectors = [None if mean is None else (mean / np.linalg.norm(mean)).tolist() for mean in means]
        lights = [None if mean is None else float(mean.mean()) for mean in means]
        return pl.DataFrame({"vector": vectors, "light": lights}, schema=dict(self.writes))
