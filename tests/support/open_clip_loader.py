"""open_clip's own loader of training data, over tars that Winnow wrote."""

import functools
import inspect
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest


def check_size_and_load(
    monkeypatch: pytest.MonkeyPatch, tars: str, batch_size: int, size: tuple[int, int]
) -> Any:
    """The dataloader over tars (a brace pattern) whose samples and shards, as open_clip counts them, are
    `size`. A picture becomes its mean, a caption the number in its last word. open_clip is written for
    webdataset <= 0.2.86; later ones end each tar with a marker that it trips over (open_clip#935), hence the
    patch that its maintainers name."""
    data = pytest.importorskip("open_clip_train.data")
    if "eof_value" in inspect.signature(data.tar_file_expander).parameters:
        expand = functools.partial(data.tar_file_expander, eof_value=None)
        monkeypatch.setattr(data, "tar_file_expander", expand)
    arguments = SimpleNamespace(
        train_data=tars,
        train_num_samples=None,
        train_data_upsampling_factors=None,
        dataset_resampled=False,
        seed=0,
        batch_size=batch_size,
        workers=1,
        world_size=1,
    )
    assert data.get_dataset_size(arguments.train_data) == size
    return data.get_wds_dataset(
        arguments,
        lambda image: np.asarray(image).mean(),
        is_train=True,
        tokenizer=lambda text: [int(text.split()[-1])],
    ).dataloader
