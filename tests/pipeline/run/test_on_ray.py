"""Passes on Ray Data: bytes equal to the plain loop's with any number of workers; failures; log lines."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import ray

from jobs.toy.sample_pool import make_pool
from pipeline.errors import OperatorError, RecipeError, ShardError
from pipeline.plan.session import Session
from pipeline.recipe.load import parse
from pipeline.recipe.sections import Recipe
from pipeline.run import on_ray
from pipeline.run.batches import Work
from pipeline.run.compute import compute
from pipeline.run.executor import Event, LocalExecutor
from pipeline.run.on_ray import RayExecutor
from tests.support.folders import tree
from tests.support.paths import PLUGINS

pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three shards of 70 small pictures, the middle one truncated, and a file of plugins."""
    folder = tmp_path_factory.mktemp("ray")
    shards = make_pool(folder / "pool", shards=3, per_shard=70, seed=1, image_size=48)
    whole = shards[1].read_bytes()
    shards[1].write_bytes(whole[: len(whole) * 2 // 3])
    np.save(folder / "target.npy", np.random.default_rng(0).standard_normal((9, 128)))
    np.save(folder / "subset.npy", np.zeros(1, "u8,u8"))
    return folder


BOTH = {"image_embedding": "clip.image_embedding", "text_embedding": "clip.text_embedding"}
BALANCED = {"entries": "entries.ids", "counts": "counts"}
OUTLIER = {"embedding": "clip.image_embedding", "norm": "clip.image_norm", "reference": "reference"}
STATS = ["words", "figures", "counts", "frequency", "reference", "batches", "scores"]
SCORES = [
    "caption",
    "clip",
    "bright",
    "rare",
    "text",
    "masked",
    "parrot",
    "effect",
    "digits",
    "entries",
    "balance",
]
SCORES += [
    "threshold",
    "wfpp",
    "k_distance",
    "slof",
    "lid",
    "dao",
    "forest",
    "ncl",
    "norm",
    "sampled",
    "asked",
]


def recipe(pool: Path, store: str, **more: object) -> Recipe:
    """A recipe with every operator but the aesthetic head, whose weights are a download, and with plugins."""
    model = Path(__file__).parents[3] / "jobs" / "toy" / "models" / "scene_clip"
    weights = {"model": f"{model}.json", "pretrained": f"{model}.safetensors"}
    return parse(
        {
            "plugins": [str(PLUGINS)],
            "pool": {"shards": f"{pool}/pool/*.tar", "store": str(pool / store)},
            "compute": {
                "caption": {"use": "caption.Caption"},
                "clip": {"use": "clip.ClipScore", **weights},
                "text": {"use": "text.TextBoxes", "side": 128},
                "masked": {
                    "use": "text.MaskedClipScore",
                    "boxes": "text.boxes",
                    "text_embedding": "clip.text_embedding",
                    **weights,
                },
                "parrot": {"use": "parrot.CoEmbeddedText", "words": "text.words"},
                "effect": {"use": "parrot.MaskEffect", "plain": "clip.score", "all": "masked.score"},
                "figures": {
                    "use": "parrot.TextFigures",
                    "words": "text.words",
                    "rate": "parrot.rate",
                    "fuzzy_rate": "parrot.fuzzy_rate",
                },
                "digits": {
                    "use": "digits.NumberFreeScore",
                    "image_embedding": "clip.image_embedding",
                    "plain": "clip.score",
                    **weights,
                },
                "entries": {"use": "metaclip.EntryMatch"},
                "counts": {"use": "metaclip.EntryCount", "entries": "entries.ids"},
                "balance": {"use": "metaclip.BalanceProbability", "t": 9, **BALANCED},
                "threshold": {"use": "metaclip.BalanceThreshold", **BALANCED},
                "frequency": {"use": "wfpp.WordFrequency", "minimum_count": 2},
                "wfpp": {"use": "wfpp.WordFrequencyScore", "frequency": "frequency"},
                "reference": {
                    "use": "outliers.Reference",
                    "normalise": False,
                    "embedding": "clip.image_embedding",
                    "norm": "clip.image_norm",
                    "text_embedding": "clip.text_embedding",
                    "text_norm": "clip.text_norm",
                    "size": 64,
                    "draws": 2,
                },
                "k_distance": {"use": "outliers.KDistance", **OUTLIER},
                "slof": {"use": "outliers.Slof", **OUTLIER},
                "lid": {"use": "outliers.Lid", **OUTLIER},
                "dao": {"use": "outliers.Dao", **OUTLIER},
                "forest": {"use": "outliers.IsolationForest", "trees": 20, **OUTLIER},
                "batches": {"use": "negcliploss.Reference", "batches": 2, "batch_size": 50, **BOTH},
                "ncl": {"use": "negcliploss.NegClipLoss", "reference": "batches", **BOTH},
                "norm": {
                    "use": "normsim.NormSim",
                    "image_embedding": "clip.image_embedding",
                    "proxy": str(pool / "target.npy"),
                    "p": "inf",
                },
                "scores": {"use": "softcap.ScoreCount", "logit": "ncl.score"},
                "sampled": {
                    "use": "softcap.Repeats",
                    "logit": "ncl.score",
                    "scores": "scores",
                    "draws": 400,
                    "temperature": 0.01,
                },
                "asked": {"use": "subset.Copies", "file": str(pool / "subset.npy")},
                "bright": {"use": "planted.Brightness"},
                "words": {"use": "rare_words.WordCount"},
                "rare": {"use": "rare_words.RarestWord", "words": "words"},
            },
            **more,
        }
    )


@pytest.fixture(scope="module")
def local(pool: Path) -> dict[str, bytes]:
    """Every file of the plain loop's store."""
    made = recipe(pool, "local")
    compute(Session.open(made), LocalExecutor())
    return tree(pool / "local")


def few(workers: int) -> dict[str, object]:
    """A `run:` section: `workers` workers for the operators, which share one pool."""
    return {name: {"workers": workers, "cpus": 0.5} for name in SCORES}


def run_on_ray(made: Recipe) -> object:
    """compute() on the tests' Ray."""
    return compute(Session.open(made), RayExecutor(made))


@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_ray_equals_the_plain_loop_to_the_byte(pool: Path, local: dict[str, bytes], workers: int) -> None:
    run_on_ray(recipe(pool, f"ray{workers}", run=few(workers)))
    made = tree(pool / f"ray{workers}")
    assert made.keys() == local.keys()
    assert [name for name in local if made[name] != local[name]] == []
    expected = (
        3 * (1 + len(SCORES)) + len(SCORES) + len(STATS)
    )  # shards' samples and Scores; meta.json; Stats
    assert len(local) == expected


@pytest.mark.usefixtures("local_ray")
def test_two_stages_one_of_them_on_a_gpu(pool: Path, local: dict[str, bytes]) -> None:
    run = few(1) | {"bright": {"gpus": 1}}  # Brightness runs on CPU anyway: the test is about placement
    log = run_on_ray(recipe(pool, "gpu", run=run))
    assert log.workers["bright"] == 1
    assert tree(pool / "gpu") == local


@pytest.mark.usefixtures("local_ray")
def test_a_missing_shard_stays_pending_and_the_rest_is_done(pool: Path, local: dict[str, bytes]) -> None:
    made = recipe(pool, "missing", run=few(1))
    shards = (*Session.open(made).shards,)
    gone = Session(made, (*shards[:2], type(shards[0])("00002", str(pool / "pool" / "nowhere.tar"))))
    log = compute(gone, RayExecutor(made))
    assert list(log.pending) == ["00002"]
    assert "FileNotFoundError" in log.pending["00002"]
    done = tree(pool / "missing")
    assert done["samples/00000.parquet"] == local["samples/00000.parquet"]


@pytest.mark.usefixtures("local_ray")
def test_an_operator_that_always_fails_stops_the_pass(pool: Path) -> None:
    made = parse(
        {
            "plugins": [str(PLUGINS)],
            "pool": {"shards": f"{pool}/pool/*.tar", "store": str(pool / "broken")},
            "compute": {"broken": {"use": "faulty.Broken"}},
        }
    )
    with pytest.raises(OperatorError, match="broken fails on every row"):
        run_on_ray(made)


@pytest.mark.usefixtures("local_ray")
def test_an_operator_that_ends_its_process_does_not_run_for_ever(
    pool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    monkeypatch.setattr("pipeline.run.on_ray.PATIENCE", 24)
    made = parse(
        {
            "plugins": [str(PLUGINS)],
            "pool": {"shards": f"{pool}/pool/*.tar", "store": str(pool / "deadly")},
            "compute": {"deadly": {"use": "faulty.Deadly"}},
        }
    )
    with pytest.raises(
        ShardError, match=r"^no batch finished in 0\.4 minutes\. Either an operator keeps killing"
    ):
        run_on_ray(made)


@pytest.mark.usefixtures("local_ray")
def test_workers_write_their_log_lines_to_files_of_ray(pool: Path) -> None:
    """A file per process, in the logs of Ray's session."""
    caption = {"caption": {"use": "caption.Caption"}}
    run_on_ray(
        parse({"pool": {"shards": f"{pool}/pool/*.tar", "store": str(pool / "log")}, "compute": caption})
    )
    logs = Path(ray._private.worker.global_worker.node.get_logs_dir_path())
    text = "\n".join(path.read_text() for path in logs.glob("worker-*.err"))
    assert re.search(
        r"^\d\d:\d\d:\d\d INFO winnow\.run: stage worker begun: caption; threads: \d+$", text, re.M
    )
    assert re.search(r"^\d\d:\d\d:\d\d INFO winnow\.run: collector begun: caption$", text, re.M)


@pytest.mark.usefixtures("local_ray")
def test_a_restarted_collector_is_logged_and_every_shard_is_done(
    pool: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    collectors: list[object] = []
    real = on_ray._collectors

    @contextmanager
    def watched(work: Work, count: int) -> Iterator[list[object]]:
        with real(work, count) as started:
            collectors.extend(started)
            yield started

    def kill_once(event: Event) -> None:
        if event.rows and len(collectors) == 1:
            ray.kill(collectors[0], no_restart=False)
            collectors.append("killed")

    monkeypatch.setattr(on_ray, "_collectors", watched)
    caption = {"caption": {"use": "caption.Caption"}}
    made = parse({"pool": {"shards": f"{pool}/pool/*.tar", "store": str(pool / "kill")}, "compute": caption})
    log = compute(Session.open(made), RayExecutor(made), observe=lambda _: kill_once)
    (message,) = [record.getMessage() for record in caplog.records if record.name == "winnow.run"]
    assert re.fullmatch(
        r"Ray restarted 1 of 1 collectors; shards whose rows are lost and computed again: [0-3]", message
    )
    assert log.pending == {}
    assert len(list((pool / "kill").glob("columns/caption-*/*.parquet"))) == 3


@pytest.mark.usefixtures("local_ray")
def test_one_large_task_runs_in_a_worker(pool: Path) -> None:
    made = {
        "plugins": [str(PLUGINS)],
        "pool": {"shards": f"{pool}/pool/*.tar", "store": str(pool / "task")},
        "compute": {"thumb": {"use": "thumbnails.Thumbnail"}},
        "export": {"index": {"embedding": "thumb.vector", "path": f"{pool}/index"}},
    }
    for run in ({}, {"index": {"cpus": 1, "memory": 0.5}}):
        session = Session.open(parse({**made, "run": run}))
        executor = RayExecutor(session.recipe)
        asked = session.recipe.resources("index")
        elsewhere, shards = executor.one(lambda s: (os.getpid(), len(s.shards)), session, asked, "run.index")
        assert (elsewhere != os.getpid(), shards) == (True, 3)
    with pytest.raises(RecipeError, match="of the task"):  # an error of ours comes out as itself
        executor.one(_refuse, session, asked, "run.index")
    asked = parse({**made, "run": {"index": {"memory": 1e6}}}).resources("index")
    with pytest.raises(RecipeError, match=r"run.index.memory asks for 1e\+06, the cluster has"):
        executor.one(len, session, asked, "run.index")


def _refuse(session: Session) -> None:
    raise RecipeError("of the task")


def test_the_plain_loop_imports_no_ray(pool: Path) -> None:
    code = (
        "import sys; from tests.pipeline.run.test_on_ray import recipe; from pathlib import Path\n"
        "for name in list(sys.modules):\n"
        "    if name.split('.')[0] == 'ray' or name == 'pipeline.run.on_ray': del sys.modules[name]\n"
        "from pipeline.run.compute import compute; from pipeline.run.executor import LocalExecutor\n"
        "from pipeline.plan.session import Session\n"
        f"compute(Session.open(recipe(Path({str(pool)!r}), 'noray')), LocalExecutor())\n"
        "assert 'ray' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])
