"""The contact sheet of masks, from a pool whose boxes are stored."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jobs.terminal.contact_sheet import write_sheet
from jobs.toy.sample_pool import make_pool
from pipeline.errors import RecipeError
from pipeline.plan.session import Session
from pipeline.recipe.load import parse
from pipeline.run.compute import compute
from pipeline.run.executor import LocalExecutor

MODEL = Path(__file__).parents[2] / "jobs" / "toy" / "models" / "scene_clip"


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    """Forty drawn samples, some with text; boxes are computed."""
    folder = tmp_path_factory.mktemp("sheet")
    make_pool(folder / "pool", shards=1, per_shard=40, seed=3)
    model = {"model": f"{MODEL}.json", "pretrained": f"{MODEL}.safetensors"}
    recipe = {
        "pool": {"shards": f"{folder}/pool/*.tar", "store": f"{folder}/store"},
        "compute": {
            "clip": {"use": "clip.ClipScore", **model},
            "text": {"use": "text.TextBoxes", "recognise": False},
            "masked": {
                "use": "text.MaskedClipScore",
                "boxes": "text.boxes",
                "text_embedding": "clip.text_embedding",
                **model,
            },
        },
    }
    made = Session.open(parse(recipe))
    return compute(made, LocalExecutor(), ["text"]).session


def test_pictures_before_and_after(session: Session, tmp_path: Path) -> None:
    count = write_sheet(session, "masked", str(tmp_path / "sheet.png"), 4)
    assert count == 4
    pixels = np.asarray(Image.open(tmp_path / "sheet.png").convert("L"))
    assert pixels.shape == (2 * 348, 3 * 652)  # three pairs a row
    assert pixels.std() > 20
    again = tmp_path / "again.png"
    write_sheet(session, "masked", str(again), 4)
    assert again.read_bytes() == (tmp_path / "sheet.png").read_bytes()


@pytest.mark.parametrize(
    ("name", "out", "part"),
    [
        ("clip", "a.jpg", "clip is not a text.MaskedClipScore of the recipe"),
        ("masked", "a.gif", "must end in"),
    ],
)
def test_refused(session: Session, tmp_path: Path, name: str, out: str, part: str) -> None:
    with pytest.raises(RecipeError, match=part):
        write_sheet(session, name, str(tmp_path / out), 4)
    assert not list(tmp_path.iterdir())


def test_boxes_that_are_not_computed(session: Session, tmp_path: Path) -> None:
    empty = {**session.recipe.pool.model_dump(), "store": str(tmp_path / "store")}
    fresh = replace(
        session, recipe=session.recipe.model_copy(update={"pool": type(session.recipe.pool)(**empty)})
    )
    with pytest.raises(RecipeError, match=r"^compute.text is not computed yet; run `winnow compute` first$"):
        write_sheet(fresh, "masked", str(tmp_path / "a.png"), 4)
