"""A CLIP in a folder of its own (`local-dir:`): its files count by content, as those of other models do."""

import io
import tarfile
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from safetensors.torch import load_file, save_file

from operators.algorithms.clip.open_clip_names import local_files
from operators.clip import ClipScore
from pipeline.plan.session import Session
from pipeline.preflight.preview import preview
from pipeline.recipe.load import parse
from pipeline.run.compute import compute
from pipeline.run.executor import LocalExecutor
from tests.operators.test_clip_families import PLAIN, make_model
from tests.support.command import winnow
from tests.support.samples import picture

WEIGHTS = "open_clip_model.safetensors"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The folder of a tiny model with random weights."""
    make_model(tmp_path / "model", PLAIN, {})
    return tmp_path / "model"


def opened(folder: Path, **sections: Any) -> Session:
    """A recipe over two pictures, scored by the model in a folder."""
    with tarfile.open(folder.parent / "0.tar", "w") as tar:
        for row in range(2):
            for suffix, data in (("png", picture(row)), ("txt", b"a cat and a dog")):
                info = tarfile.TarInfo(f"{row}.{suffix}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    recipe = {
        "pool": {"shards": f"{folder.parent}/0.tar", "store": f"{folder.parent}/store"},
        "compute": {"clip": {"use": "clip.ClipScore", "model": f"local-dir:{folder}"}},
    }
    return Session.open(parse(recipe | sections))


def scores(session: Session) -> list[float]:
    """The scores that the store holds for a session."""
    shards = [shard.name for shard in session.shards]
    column: pl.Series = session.columns.read_many(shards, ["clip.score"])["clip.score"]
    return column.to_list()


def flip(folder: Path) -> None:
    """Give a model other weights, in a file of as many bytes."""
    weights = load_file(folder / WEIGHTS)
    save_file({name: -value for name, value in weights.items()}, folder / WEIGHTS)


def test_another_model_in_the_folder_is_scored_anew(model):
    first = compute(opened(model), LocalExecutor()).session
    before = scores(first)
    assert opened(model).keys == first.keys
    flip(model)
    assert preview(opened(model)).passes, "the stored scores are another model's"
    second = compute(opened(model), LocalExecutor()).session
    assert second.keys["clip"] != first.keys["clip"]
    assert all(now != was for now, was in zip(scores(second), before, strict=True))


def test_a_search_asks_the_model_that_made_the_index(model, tmp_path):
    recipe = tmp_path / "r.yaml"
    opened(model)
    recipe.write_text(
        f"pool: {{shards: {tmp_path}/0.tar, store: {tmp_path}/store}}\n"
        f"compute: {{clip: {{use: clip.ClipScore, model: 'local-dir:{model}'}}}}\n"
        "keep: {clip.score: {min: -1}}\n"
        f"export: {{index: {{embedding: clip.image_embedding, path: {tmp_path}/index}}}}\n"
    )
    assert winnow("run", recipe, "--local").returncode == 0
    assert winnow("search", tmp_path / "index", "--text", "a cat").returncode == 0
    flip(model)
    done = winnow("search", tmp_path / "index", "--text", "a cat")
    assert done.returncode == 2
    assert "is not the one that made" in done.stderr


def test_which_files_of_a_folder_count(model):
    (model / "README.md").write_text("a description")
    (model / ".gitattributes").write_text("")
    (model / "more").mkdir()
    names = ["open_clip_config.json", WEIGHTS]
    files = {name: str(model / name) for name in names}
    assert local_files(f"local-dir:{model}") == files
    assert list(ClipScore(model=f"local-dir:{model}").fields_of("file")) == [("model", files)]
    assert local_files(f"local-dir:{model}/none") == local_files(str(model)) == {}
