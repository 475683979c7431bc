"""While a stage computes one batch, it decodes and prepares the next; an operator computes one at a time."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from operators.algorithms.clip.device_jpegs import DeviceJpegs
from pipeline.operator import ImageScore
from pipeline.plan.session import Session
from pipeline.recipe.limits import Limits
from pipeline.recipe.load import parse
from pipeline.run.compute import compute
from pipeline.run.executor import LocalExecutor
from pipeline.run.stage.decoder import Decoder
from pipeline.run.stage.runner import AHEAD, Stopped
from tests.pipeline.run.stage_operators import Ahead, Mean, gray, stage
from tests.support.folders import tree
from tests.support.samples import picture, samples

PATIENCE = 60  # seconds that a test waits for another thread


class Device(Ahead):
    """`complete` waits until as many batches as fit are launched."""

    def launch(self, batch, prepared):
        with CHANGED:
            LOG.append("launch")
            CHANGED.notify_all()
        return prepared

    def complete(self, batch, launched):
        with CHANGED:
            LOG.append("complete")
            assert CHANGED.wait_for(lambda: LOG.count("launch") >= 1 + AHEAD, PATIENCE)
            LOG.append("completed")
        return super().complete(batch, launched)


CHANGED = threading.Condition(threading.Lock())
LOG: list[str] = []


@pytest.fixture(autouse=True)
def _empty_log():
    LOG.clear()


def values(runner, batches: int) -> list[list[float]]:
    """Results of batches of two pictures, each batch on a thread of its own."""

    def run(number: int) -> list[float]:
        frame, _ = runner.run(samples(2), [gray(number), gray(100 + number)])
        return frame["it.value"].to_list()

    with ThreadPoolExecutor(batches) as pool:
        return list(pool.map(run, range(batches)))


def test_the_next_batches_are_launched_while_one_is_computed():
    found = values(stage(it=Device()), 1 + AHEAD)
    assert found == [[float(n), 100.0 + n] for n in range(1 + AHEAD)]
    assert LOG.count("completed") == 1 + AHEAD


def test_no_more_batches_are_launched_than_are_allowed():
    runner = stage(it=Device())
    values(runner, 3 * (1 + AHEAD))
    for at, _ in enumerate(LOG):
        assert LOG[:at].count("launch") - LOG[:at].count("completed") <= 1 + AHEAD


def test_an_operator_computes_one_batch_at_a_time():
    busy = threading.Lock()

    class Alone(Mean):
        def score(self, batch, images):
            assert busy.acquire(blocking=False), "another thread is in here"
            try:
                return super().score(batch, images)
            finally:
                busy.release()

    assert values(stage(it=Alone()), 8) == [[float(n), 100.0 + n] for n in range(8)]


def test_nothing_is_prepared_that_waits_for_a_column_of_the_stage():
    class Later(Mean):
        needs = ("first.value",)

        def works_ahead(self):
            return True

        def score(self, batch, images):
            return batch.select(value=pl.col("first.value") + 1)

    frame, _ = stage(first=Mean(), later=Later()).run(samples(1), [gray(7)])
    assert frame["later.value"].to_list() == [8.0]


def test_after_the_stop_nothing_is_computed():
    runner = stage(it=Mean())
    runner.stop()
    with pytest.raises(Stopped):
        runner.run(samples(1), [gray(1)])


def test_the_plain_loop_makes_the_same_bytes_however_many_batches_are_on_their_way(
    write_pool, tiny_clip, tmp_path: Path
) -> None:
    for shard in range(3):
        write_pool([f"picture {n}" for n in range(5)], shard=str(shard))
    clip = {"use": "clip.ClipScore", "model": tiny_clip.config, "pretrained": tiny_clip.weights}
    made = {}
    for number in (1, 4):
        store = tmp_path / f"store{number}"
        pool = {"shards": f"{tmp_path}/pool/*.tar", "store": str(store)}
        recipe = parse({"pool": pool, "compute": {"clip": clip}, "run": {"clip": {"batch_size": 2}}})
        compute(Session.open(recipe), LocalExecutor(2, in_flight=number))
        made[number] = tree(store, without=("runs", "footers", "sources.json"))
    assert made[1] == made[4]
    assert len([name for name in made[4] if name.startswith("columns/")]) >= 3


# --- pictures that the device decodes ---------------------------------------------------------------


class OnDevice(ImageScore):
    """The mean of tensors."""

    writes = {"value": pl.Float64, "tensor": pl.Boolean}

    def device_decoder(self):
        return DeviceJpegs("cpu")

    def score(self, batch, images):
        import torch

        rows = {
            "value": [None if i is None else float(np.asarray(i).mean()) for i in images],
            "tensor": [None if i is None else isinstance(i, torch.Tensor) for i in images],
        }
        return pl.DataFrame(rows, schema=dict(self.writes))


def test_what_the_device_does_not_decode_the_cpu_does_with_the_same_reasons():
    jpeg = picture(1, 40, 30, "JPEG")
    pictures = [jpeg, gray(5), jpeg[:200], b"garbage", None, picture(2, 40, 30, "JPEG", "CMYK"), jpeg]
    frame, tally = stage(it=OnDevice()).run(samples(len(pictures)), pictures)
    both = stage(it=OnDevice(), plain=Mean())  # who takes arrays only: nobody gets tensors
    plain, _ = both.run(samples(len(pictures)), pictures)
    assert not any(plain["it.tensor"].drop_nulls())
    assert plain["it.value"].equals(plain["plain.value"])
    assert frame["it.error"].to_list() == plain["it.error"].to_list()
    seen = [value is not None for value in frame["it.value"]]
    assert seen == [value is not None for value in plain["it.value"]]
    assert [tensor for tensor in frame["it.tensor"] if tensor is not None] == [True] * sum(seen)
    assert frame["it.value"][1] == 5.0
    assert frame["it.value"].drop_nulls().to_list() == pytest.approx(
        plain["it.value"].drop_nulls().to_list(), abs=1
    )
    assert tally.failed["decode"] == plain["it.value"].null_count()


def test_the_device_takes_jpegs_within_the_limits_as_arrow_gives_them():
    jpeg = picture(1, 40, 30, "JPEG")
    taken = Decoder(1, Limits(image_pixels=1200))
    views = [memoryview(data).cast("b") for data in (jpeg, picture(1, 41, 30, "JPEG"), gray(1))]
    assert [taken._fits(view) for view in views] == [True, False, False]
