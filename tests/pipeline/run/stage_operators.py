"""Small operators and stages for the tests of `pipeline.run.stage`."""

import io

import polars as pl
from PIL import Image

from pipeline.operator import Device, ImageScore, Writer
from pipeline.recipe.sections import Entry
from pipeline.run.stage.runner import StageRunner


def gray(value: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (24, 16), (value,) * 3).save(out, "PNG")
    return out.getvalue()


def stage(batch_size: int = 256, **operators: Writer) -> StageRunner:
    entries = {name: Entry("test.Operator", operator) for name, operator in operators.items()}
    return StageRunner(entries, {}, Device(), batch_size)


class Mean(ImageScore):
    writes = {"value": pl.Float64}

    def score(self, batch, images):
        return pl.DataFrame(
            {"value": [None if i is None else float(i.mean()) for i in images]}, schema=dict(self.writes)
        )


class Ahead(Mean):
    """Takes its means ahead."""

    def works_ahead(self):
        return True

    def prepare(self, batch, images):
        return super().score(batch, images)

    def complete(self, batch, launched):
        return pl.concat(launched)

    def score(self, batch, images):
        raise AssertionError("the batch was prepared")
