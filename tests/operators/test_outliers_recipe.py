"""Backdoor outliers in recipes: planted outliers rank first, the trap is told, plan and explain."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from jobs.terminal import plan_tables, tables
from operators import outliers
from operators.outliers import Reference
from pipeline.decide.decide import decide
from pipeline.decide.explain import explain
from pipeline.plan.session import Session
from pipeline.preflight.preview import preview
from pipeline.recipe.load import parse
from pipeline.run.compute import compute
from pipeline.run.executor import LocalExecutor
from tests.operators.test_outliers import CLASSES, frame, scored, table
from tests.support.paths import PLUGINS
from tests.support.samples import picture

# --- the trap ------------------------------------------------------------------------------------------


def poisoned(rows: int, poisons: int) -> pl.DataFrame:
    """Clusters, the last rows a small dense one far from all of them."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(40, 32))
    clean = centres[rng.integers(0, 40, rows - poisons)] + 0.3 * rng.normal(size=(rows - poisons, 32))
    return frame(np.concatenate([clean, 3 * rng.normal(size=32) + 0.05 * rng.normal(size=(poisons, 32))]))


def recall(rows: pl.DataFrame, poisons: int, cls: type, **fields: object) -> float:
    """Share of the last `poisons` rows among as many of the highest scores."""
    found = scored(rows, table(rows, **fields), cls)["score"].to_numpy()
    return float((np.argsort(-found)[:poisons] >= len(rows) - poisons).mean())


@pytest.mark.parametrize("cls", CLASSES[:2] + CLASSES[3:])
def test_planted_outliers_rank_first_and_a_reference_of_everything_hides_them(cls):
    """20 of 4,000, k = 16: about 3 in a reference of 512, all 20 in one of everything."""
    rows = poisoned(4000, 20)
    assert recall(rows, 20, cls, size=512, draws=4, k=16) == 1
    if cls is not outliers.KDistance:
        assert recall(rows, 20, cls, size=4000, k=16) == 0


def test_plan_warns_of_the_trap():
    made = Reference(embedding="e.v", normalise=True, size=8192, k=16, assumed_rate=0.003)
    (warning,) = made.warnings()
    assert warning.startswith(
        "size 8,192 x assumed_rate 0.003 = 24.6 poisoned samples in a reference, k is 16"
    )
    assert warning.endswith("take size < 5,333, or a larger k")
    assert Reference(embedding="e.v", normalise=True).warnings() == ()


# --- plan and explain ----------------------------------------------------------------------------------


@pytest.fixture
def session(write_pool, tmp_path):
    """Fifteen pictures, scored and decided on."""
    write_pool([*(f"picture {n}" for n in range(13)), None, "same"], [*map(picture, range(14)), b"broken"])
    recipe = parse(
        {
            "plugins": [str(PLUGINS)],
            "pool": {"shards": f"{tmp_path}/pool", "store": f"{tmp_path}/store"},
            "compute": {
                "tiny": {"use": "thumbnails.Thumbnail"},
                "near": {"use": "outliers.Reference", "embedding": "tiny.vector", "normalise": True}
                | {"k": 2, "size": 1000},
                "outlier": {"use": "outliers.Slof", "embedding": "tiny.vector", "reference": "near"},
            },
            "keep": {"outlier.score": {"bottom": 0.5}, "width": {"min": 1}},
        }
    )
    opened = Session.open(recipe)
    log = compute(opened, LocalExecutor())
    assert log.pending == {}
    opened = log.session
    decide(opened)
    return opened


def test_plan_shows_what_operators_warn_of(session, capsys):
    found = preview(session)
    assert [warning.split(":")[0] for warning in found.warnings] == ["compute.near"]
    plan_tables.plan(found)
    assert "warning compute.near: size 1,000 x assumed_rate 0.003 = 3.0 poisoned" in capsys.readouterr().out


def test_explain_names_the_nearest_neighbours(session):
    frame = session.store.read("samples/00000.parquet")
    vectors = session.store.read(f"{session.folder('tiny')}/00000.parquet")["tiny.vector"][:14].to_numpy()
    vectors = vectors.astype(np.float32) / np.linalg.norm(vectors.astype(float), axis=1, keepdims=True)
    (entry,) = explain(session, [frame["uid"][4]])
    distances = np.linalg.norm(vectors - vectors[4], axis=1)
    near = [int(row) for row in np.argsort(distances) if row != 4][:5]
    shown = entry.evidence["outlier"]
    assert [line["uid"] for line in shown] == [frame["uid"][row] for row in near]
    assert [line["caption"] for line in shown] == [frame["text"][row] for row in near]
    np.testing.assert_allclose([line["distance"] for line in shown], distances[near], rtol=1e-4)


def test_explain_without_neighbours(session, capsys):
    """A picture that cannot be read has none; nor has a sample whose embeddings are no longer stored."""
    uids = session.store.read("samples/00000.parquet")["uid"]
    broken, whole = explain(session, [uids[14], uids[0]])
    assert (broken.evidence, len(whole.evidence["outlier"])) == ({}, 5)
    tables.explanation(whole)
    assert whole.evidence["outlier"][0]["uid"] in capsys.readouterr().out
    Path(session.store.root.path(f"{session.folder('tiny')}/00000.parquet")).unlink()
    assert explain(session, [uids[0]])[0].evidence == {}
