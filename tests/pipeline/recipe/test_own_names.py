"""Paths of exports that are names of Winnow's own."""

import pytest

from pipeline.export.places.contents import STATES_FILE
from pipeline.export.places.file import NOTE
from pipeline.export.places.folder import LOCK, MANIFEST, NEXT
from pipeline.recipe.own_names import own_name
from pipeline.storage import layout
from pipeline.storage.disk import temporary_path


@pytest.mark.parametrize(
    "name",
    [
        MANIFEST,
        NEXT,
        LOCK,
        layout.LOCK,
        STATES_FILE,
        f"kept.parquet{NOTE}",
        f".kept.parquet{STATES_FILE}",
        f".kept.parquet{LOCK}",
        pytest.param(temporary_path("", "kept.parquet")[1:], id="temporary"),  # has the process's id
    ],
)
def test_every_name_that_winnow_gives_is_known(name):
    for path in (name, f"/data/{name}", f"out/{name}/", f"s3://bucket/{name}/deeper/out.parquet"):
        assert own_name(path) == name


@pytest.mark.parametrize(
    "path",
    [
        "out/winnow.json",
        "winnow-next/x",
        "a.winnow/x",
        ".winnow/x.npy",
        "winnow.lock",
        "x.winnow.lock",
        "~/.w",
    ],
)
def test_other_names_are_free(path):
    assert own_name(path) is None
