"""The recipes of jobs/recipes/decontaminate, in two commands, on two small pools: what is dropped, and by
which rule."""

import io
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image, ImageOps
from typer.testing import CliRunner

from jobs.app import app
from jobs.toy.sample_pool import draw
from pipeline.view.notebook import open_recipe
from tests.support.decided_pool import write_tar
from tests.support.paths import ROOT

RECIPES = ROOT / "jobs" / "recipes" / "decontaminate"
MODEL = ROOT / "jobs" / "toy" / "models" / "scene_clip"
CLIP = (f"compute.clip.model={MODEL}.json", f"compute.clip.pretrained={MODEL}.safetensors", "run.clip.gpus=0")
COSINE = 0.98  # the demo's CLIP gives .988 and more to these changes, .76 at most to other drawings


def jpeg(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=90)
    return out.getvalue()


def picture(number: int) -> Image.Image:
    return draw(random.Random(f"decontaminate/{number}"), None, 256)[0]


def without_edges(image: Image.Image) -> Image.Image:
    x, y = (round(0.025 * side) for side in image.size)
    return image.crop((x, y, image.width - x, image.height - y))


def run(recipe: Path, changes: Sequence[str]) -> None:
    words = [word for change in changes for word in ("--set", change)]
    result = CliRunner().invoke(app, ["run", str(recipe), *words, "--local"])
    assert result.exit_code == 0, result.output


@pytest.fixture
def outcome(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pl.DataFrame:
    """The samples of the pool with their columns and verdicts, after both commands."""
    monkeypatch.chdir(tmp_path)
    evaluation = [picture(number) for number in range(8)]
    files = [(f"{number}.jpg", jpeg(image)) for number, image in enumerate(evaluation)]
    write_tar(tmp_path / "evaluation" / "0.tar", [*files, ("8.jpg", b"not a picture")])
    pool = {
        "same": jpeg(evaluation[0]),
        "half": jpeg(evaluation[1].resize([side // 2 for side in evaluation[1].size])),
        "part": jpeg(without_edges(evaluation[2])),
        "flipped": jpeg(ImageOps.mirror(evaluation[3])),
        "broken": b"not a picture",
        **{f"other{number}": jpeg(picture(number)) for number in range(100, 120)},
    }
    write_tar(tmp_path / "pool" / "0.tar", [(f"{key}.jpg", data) for key, data in pool.items()])
    run(RECIPES / "evaluation.yaml", CLIP)
    changes = (*CLIP, "pool.shards=pool/*.tar", f"keep.about.score.max={COSINE}")
    run(RECIPES / "pool.yaml", changes)
    found: pl.DataFrame = open_recipe(RECIPES / "pool.yaml", changes).frame.collect()
    return found


def test_what_the_set_holds_is_dropped_in_two_commands(outcome):
    rules = ["same.listed", "like.distance", "part.distance", "about.score"]
    verdicts = outcome.select("key", *(f"rule:{rule}" for rule in rules)).rows()
    assert [(key, *(passes is False for passes in passed)) for key, *passed in verdicts[:4]] == [
        ("same", True, True, False, True),
        ("half", False, True, False, True),
        ("part", False, True, True, True),
        ("flipped", False, False, False, True),
    ]
    kept = outcome.filter(fate="kept")["key"].to_list()
    assert kept == [f"other{number}" for number in range(100, 120)]
    assert len(np.load("out/subset.npy")) == len(kept)


def test_the_table_has_all_that_the_second_recipe_reads(outcome):
    table = pl.read_parquet("evaluation.parquet")
    assert table["key"].to_list() == [str(number) for number in range(8)]  # not the one that is no picture
    assert {"digest.digest", "pdq.hash", "pdq.cropped", "clip.image_embedding"} <= set(table.columns)


def test_a_table_of_another_models_embeddings_is_doubted(outcome, tmp_path):
    from safetensors.numpy import load_file, save_file

    weights = load_file(f"{MODEL}.safetensors")
    name = next(name for name, value in weights.items() if value.ndim == 2)
    save_file({**weights, name: weights[name] * np.float32(1.5)}, tmp_path / "other.safetensors")
    same = [*CLIP, "pool.shards=pool/*.tar"]
    words = ["plan", str(RECIPES / "pool.yaml")]
    for changes, doubted in (
        (same, False),
        ([*same, f"compute.clip.pretrained={tmp_path}/other.safetensors"], True),
    ):
        sets = [word for change in changes for word in ("--set", change)]
        result = CliRunner().invoke(app, [*words, *sets])
        assert result.exit_code == 0, result.output
        said = " ".join(result.output.split())
        assert doubted == (
            "compute.about: evaluation.parquet holds clip.image_embedding of another model, weights or "
            "preprocessing than clip.image_embedding of this recipe, so their cosines say nothing" in said
        )
