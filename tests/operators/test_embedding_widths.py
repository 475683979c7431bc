"""Files for embeddings of another width stop the pass, however many rows have no embedding."""

import numpy as np
import polars as pl
import pytest

from operators.content import Inappropriate
from operators.heads import Linear
from pipeline.errors import OperatorError
from tests.pipeline.run.stage_operators import stage
from tests.support.samples import samples

FITTED = {
    "content": (Inappropriate, {"image_embedding": "clip.image_embedding"}, "vectors"),
    "head": (Linear, {"embedding": "clip.image_embedding"}, "weights"),
}


@pytest.mark.parametrize("name", FITTED)
@pytest.mark.parametrize("embeddings", [0, 1, 20, 3])
def test_a_width_that_does_not_fit_is_the_fault_of_the_batch_whatever_rows_are_null(
    tmp_path, name, embeddings
):
    operator, fields, file = FITTED[name]
    np.save(tmp_path / "other.npy", np.eye(2, 3))
    column = pl.Series([[1.0, 0]] * embeddings + [None] * (20 - embeddings), dtype=pl.Array(pl.Float16, 2))
    batch = samples(20).with_columns(column.alias("clip.image_embedding"))
    made = operator(**fields, **{file: f"{tmp_path}/other.npy"}, model="mine")
    for rows in (batch, batch[:5]):
        with pytest.raises(OperatorError, match=r"clip\.image_embedding has 2 numbers per row, .* has 3"):
            stage(**{name: made}).run(rows, None)
