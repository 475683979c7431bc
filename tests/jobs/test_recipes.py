"""Recipes that need nothing but a pool and a CLIP run as they stand, on a pool of drawn pictures."""

import io
import math
import random
from pathlib import Path

import polars as pl
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from jobs.app import app
from jobs.toy.sample_pool import draw, make_pool
from pipeline.view.notebook import open_recipe
from tests.support.decided_pool import write_tar
from tests.support.paths import ROOT

RECIPES = ROOT / "jobs" / "recipes"
MODEL = ROOT / "jobs" / "toy" / "models" / "scene_clip"


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two shards of pictures, of which some are copies of others, and one broken picture."""
    folder = tmp_path_factory.mktemp("recipes") / "pool"
    make_pool(folder, shards=2, per_shard=60, seed=3, image_size=96)
    write_tar(folder / "broken.tar", [("a.jpg", b"not a picture"), ("a.txt", b"a caption of the picture")])
    drawn = draw(random.Random(0), None, 320)[0]
    half, small = (drawn.resize((drawn.width // by, drawn.height // by)) for by in (2, 3))
    write_tar(folder / "large.tar", [("large.jpg", jpeg(drawn)), ("large.txt", b"word")])
    write_tar(folder / "small.tar", [*pair("half", half), *pair("small", small)])
    return folder


def jpeg(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=95)
    return out.getvalue()


def pair(key: str, image: Image.Image) -> list[tuple[str, bytes]]:
    """The members of a sample with a caption of four words."""
    return [(f"{key}.jpg", jpeg(image)), (f"{key}.txt", b"some words about it")]


def kept_by(name: str, pool: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> pl.DataFrame:
    """Samples with columns and verdicts, after `winnow run` of a recipe whose CLIP is the demo's."""
    monkeypatch.chdir(out)
    recipe = yaml.safe_load((RECIPES / name).read_text())
    recipe["pool"] = {"shards": f"{pool}/*.tar", "store": "store"}
    for entry in recipe["compute"].values():
        if "pretrained" in entry:
            entry |= {"model": f"{MODEL}.json", "pretrained": f"{MODEL}.safetensors"}
    for resources in recipe.get("run", {}).values():
        resources["gpus"] = 0
    Path("recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    result = CliRunner().invoke(app, ["run", "recipe.yaml", "--local"])
    assert result.exit_code == 0, result.output
    frame = open_recipe("recipe.yaml").frame.collect()
    written = pl.read_parquet("out/shards/00000000.parquet")
    assert sorted(written["uid"]) == sorted(frame.filter(fate="kept")["uid"])
    return frame


def share(frame: pl.DataFrame, column: str, top: float) -> int:
    """How many samples the best `top` of those with a value are."""
    return math.ceil(top * frame[column].count())


def test_wfpp(pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = kept_by("wfpp.yaml", pool, tmp_path, monkeypatch)
    assert len(frame.filter(fate="kept")) == share(frame, "wfpp.score", 0.9)


def test_digits(pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = kept_by("digits.yaml", pool, tmp_path, monkeypatch)
    kept = frame.filter(fate="kept")
    assert len(kept) == share(frame, "digits.score", 0.4)
    assert kept["digits.score"].min() >= frame.filter(fate="dropped")["digits.score"].max()


def test_clip_score(pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = kept_by("clip_score.yaml", pool, tmp_path, monkeypatch)
    cut = frame["clip.score"].top_k(share(frame, "clip.score", 0.3)).min()
    expected = frame.filter(
        pl.col("clip.score") >= cut,
        pl.col("caption.language") == "en",
        pl.col("caption.words") >= 3,
        pl.col("caption.side") >= 64,
    )
    assert 0 < len(expected) < share(frame, "clip.score", 0.3)
    assert sorted(frame.filter(fate="kept")["uid"]) == sorted(expected["uid"])


def test_duplicates(pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of copies whose captions are long enough one stays, although a larger one has a caption of one word.
    A picture that cannot be decoded does not stay."""
    frame = kept_by("duplicates.yaml", pool, tmp_path, monkeypatch)
    copies = frame.filter("copy.copy")
    assert set(copies["fate"]) == {"dropped"}
    own = frame.filter(pl.col("shard").is_in(["large", "small"]))
    assert dict(own.select("key", "fate").iter_rows()) == {
        "large": "dropped",
        "half": "kept",
        "small": "dropped",
    }
    assert (
        copies.filter(shard="small")["copy.leader"].unique().to_list()
        == own.filter(key="half")["uid"].to_list()
    )
    assert frame.filter(shard="broken")["fate"].to_list() == ["failed"]
