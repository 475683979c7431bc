"""The busiest part of a run: its share of the passes' seconds by hand, and of a pass that was run."""

from pathlib import Path

import pytest

from pipeline.plan.session import Session
from pipeline.progress import Tally
from pipeline.recipe.load import parse
from pipeline.recipe.sections import Recipe
from pipeline.run.batches import Read
from pipeline.run.bottleneck import Bottleneck, bottleneck
from pipeline.run.compute import compute
from pipeline.run.executor import Event, LocalExecutor
from pipeline.run.log import RunLog

BOXES, CAPTION = {"use": "text.TextBoxes"}, {"use": "caption.Caption"}
CLIP = {"model": "ViT-B-32", "pretrained": "openai"}
DIGITS = {
    "use": "digits.NumberFreeScore",
    "image_embedding": "clip.image_embedding",
    "plain": "clip.score",
    **CLIP,
}


def recipe(folder: Path, pool: str = "unused.tar", compute=None, **run) -> Recipe:
    return parse(
        {
            "pool": {"shards": pool, "store": str(folder / "store")},
            "compute": compute or {"boxes": BOXES, "caption": CAPTION},
            "run": run,
        }
    )


def log_of(made: Recipe, workers: dict[str, int], reading: float, **seconds: float) -> RunLog:
    """A run whose passes took ten seconds."""
    log = RunLog(Session(made, ()))
    log.add_event(Event(tally=Tally(seconds=seconds)))
    log.add_event(Event(read=Read("a", seconds=reading)))
    log.workers, log.pass_seconds = workers, 10.0
    return log


def test_the_part_whose_workers_were_busiest(tmp_path):
    """18 s of two workers in 10 s are nine tenths; 4 s of a single one, and 12 s of six threads, less."""
    made = recipe(tmp_path)
    log = log_of(made, {"boxes": 2, "caption": 1, "read": 4}, 8.0, boxes=18.0, caption=4.0, decode=12.0)
    assert bottleneck(log) == Bottleneck("boxes", 0.9, 10.0, "a GPU (run.boxes.gpus), or more CPUs")


@pytest.mark.parametrize(
    ("workers", "run", "seconds", "part", "advice"),
    [
        ({}, {}, {"reading": 9.5, "boxes": 3.0}, "read", "keep the pool on faster storage"),
        ({"boxes": 1, "read": 1}, {}, {"reading": 9.5}, "read", "keep the pool nearer, or add CPUs"),
        ({}, {}, {"decode": 27.0, "boxes": 3.0}, "decode", "preprocess: fast, or more CPUs"),
        ({}, {"boxes": {"gpus": 1}}, {"boxes": 9.0}, "boxes", "more GPUs, or run.boxes.batch_size"),
        ({}, {}, {"caption": 9.0}, "caption", "more CPUs, or Ray (without --local)"),
        ({"caption": 1}, {}, {"caption": 9.0}, "caption", "more CPUs"),
    ],
)
def test_what_would_make_it_faster(tmp_path, workers, run, seconds, part, advice):
    found = bottleneck(log_of(recipe(tmp_path, **run), workers, **{"reading": 0.0, **seconds}))
    assert (found.part, found.advice) == (part, advice)


@pytest.mark.parametrize(
    ("entry", "gpus", "advice"),
    [
        ({**BOXES, "precision": "int8"}, 0, "more CPUs"),  # for CPUs alone
        ({**BOXES, "precision": "int8"}, 1, "more CPUs"),
        ({"use": "pdq.PdqHash"}, 0, "more CPUs"),  # an ImageScore, too
        (DIGITS, 0, "a GPU (run.it.gpus), or more CPUs"),  # it reads no image
        (DIGITS, 1, "more GPUs, or run.it.batch_size"),
    ],
)
def test_a_gpu_is_advised_only_to_what_uses_one(tmp_path, entry, gpus, advice):
    compute = {"clip": {"use": "clip.ClipScore", **CLIP}, "it": entry}
    found = bottleneck(log_of(recipe(tmp_path, compute=compute, it={"gpus": gpus}), {"it": 1}, 0.0, it=9.0))
    assert found.advice == advice


def test_a_pass_that_ran(tmp_path, pool):
    session = Session.open(recipe(tmp_path, f"{pool}/pool/00000.tar"))
    log = compute(session, LocalExecutor(threads=1))
    found = bottleneck(log)
    assert found.part == "boxes"
    assert 0 < found.busy <= 1
    assert found.seconds == round(log.pass_seconds, 3)
    assert 0 < found.start < found.seconds
    assert bottleneck(compute(Session.open(session.recipe), LocalExecutor(threads=1))) is None
