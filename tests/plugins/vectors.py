"""An embedding that follows from the uid: `use: vectors.Vector`."""

import numpy as np
import polars as pl

from pipeline.operator import ImageScore


class Vector(ImageScore):
    """Eight numbers that follow from the uid; null without an image."""

    needs = ("uid",)
    writes = {"embedding": pl.Array(pl.Float16, 8), "first": pl.Float32}

    def score(self, batch, images):
        rows = [
            None if image is None else np.random.default_rng(int(uid[:8], 16)).standard_normal(8)
            for uid, image in zip(batch["uid"], images, strict=True)
        ]
        lists = [None if row is None else (row / np.linalg.norm(row)).tolist() for row in rows]
        first = [None if row is None else row[0] for row in lists]
        return pl.DataFrame({"embedding": lists, "first": first}, schema=dict(self.writes))
