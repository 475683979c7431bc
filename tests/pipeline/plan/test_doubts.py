"""What operators doubt about the pool: in plan, in the funnel, and where nothing can be said."""

import json

from jobs import steps
from pipeline.plan.doubts import doubts
from pipeline.plan.session import Session
from pipeline.preflight.preview import preview
from pipeline.recipe.load import parse
from pipeline.run.compute import compute
from pipeline.run.executor import LocalExecutor
from pipeline.storage.upkeep.compact import compact
from tests.support.command import winnow

SAID = "compute.entries: 67% of 6 captions match no entry of the list, whose case counts, as published; with "
SAID += "`fold: case` 33% would not"


def made(write_pool, tmp_path) -> dict:
    """Two shards whose captions match no entry, but for two."""
    write_pool(["a dog", "A DOG", "x"])
    write_pool(["a dog", "DOG", "y"], shard="00001")
    (tmp_path / "entries.txt").write_text("dog\n")
    return {
        "pool": {"shards": f"{tmp_path}/pool", "store": f"{tmp_path}/store"},
        "compute": {"entries": {"use": "metaclip.EntryMatch", "metadata": f"{tmp_path}/entries.txt"}},
    }


def test_before_samples_are_known_nothing_is_said_unless_it_is_measured(write_pool, tmp_path):
    session = Session.open(parse(made(write_pool, tmp_path)))
    assert doubts(session) == []
    assert SAID not in preview(session).warnings
    assert SAID in preview(session, count=2).warnings


def test_plan_and_the_funnel_say_it(write_pool, tmp_path):
    recipe = made(write_pool, tmp_path)
    session = compute(Session.open(parse(recipe)), LocalExecutor()).session
    assert doubts(session) == [SAID]
    assert SAID in preview(session).warnings
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe))
    shown = winnow("keep", str(tmp_path / "recipe.yaml"), "--json")
    assert json.loads(shown.stdout)["doubts"] == [SAID]
    assert "doubt compute.entries: 67% of 6" in " ".join(
        winnow("keep", str(tmp_path / "recipe.yaml")).stdout.split()
    )


def test_a_list_that_is_gone_raises_no_doubt(write_pool, tmp_path):
    session = compute(Session.open(parse(made(write_pool, tmp_path))), LocalExecutor()).session
    (tmp_path / "entries.txt").unlink()
    assert doubts(session) == []


def test_run_says_it(write_pool, tmp_path, capsys):
    session = Session.open(parse(made(write_pool, tmp_path)))
    steps.run_all(session, local=True)
    assert "match no entry of the list" in " ".join(capsys.readouterr().err.split())


def test_shards_of_a_network_that_ran_on_gpus_and_on_cpus(write_pool, tmp_path, monkeypatch):
    """The pool grows after a run on a GPU, and the next run has none."""
    (tmp_path / "network.py").write_text(
        "import polars as pl\nfrom pydantic import PrivateAttr\nfrom pipeline.operator import Score\n\n\n"
        "class Network(Score):\n    needs = ('text',)\n    writes = {'device': pl.String}\n"
        "    _on: str = PrivateAttr('')\n\n"
        "    def setup(self, stats, device):\n        self._on = device.name\n\n"
        "    def uses_gpu(self):\n        return True\n\n"
        "    def score(self, batch):\n        return batch.select(device=pl.lit(self._on))\n"
    )
    recipe = {
        "pool": {"shards": f"{tmp_path}/pool", "store": f"{tmp_path}/store"},
        "plugins": [str(tmp_path)],
        "compute": {"net": {"use": "network.Network"}, "caption": {"use": "caption.Caption"}},
    }
    (tmp_path / "nvidia0").touch()
    monkeypatch.setattr("pipeline.plan.absent.DEVICES", tmp_path)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    write_pool(["a dog"])
    write_pool(["a cat"], shard="00001")
    on_gpus = Session.open(parse(recipe | {"run": {"net": {"gpus": 1}}}))
    assert doubts(compute(on_gpus, LocalExecutor()).session) == []
    write_pool(["a bird"], shard="00002")
    made = compute(Session.open(parse(recipe)), LocalExecutor()).session
    frames = [made.columns.read(shard.name, ["net.device"]) for shard in made.shards]
    assert [frame.item() for frame in frames] == ["cuda", "cuda", "cpu"]
    said = (
        "compute.net: a GPU computed 2 of 3 shards, and CPUs the others: a network gives slightly different "
    )
    said += "results there; `winnow store forget RECIPE net` has all of them computed anew"
    assert doubts(made) == [said]
    compact(made.store, made.folder("net"), [shard.name for shard in made.shards])
    assert doubts(made.refreshed()) == [said]
