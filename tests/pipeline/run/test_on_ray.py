"""The same passes on Ray Data: equal bytes, whatever the number of workers; placement; failures."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from jobs.toy.sample_pool import make_pool
from pipeline.errors import OperatorError, RecipeError, ShardError
from pipeline.plan.cluster import MOST_TASKS, Node, check_paths, place, read_tasks
from pipeline.plan.passes import Stage
from pipeline.plan.session import Session
from pipeline.pool.shards import Shard
from pipeline.recipe.load import parse
from pipeline.recipe.sections import Recipe, Resources
from pipeline.run.compute import compute
from pipeline.run.executor import LocalExecutor
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
STATS = ("words", "figures", "counts", "frequency", "reference", "batches", "scores")
SCORES = (
    *("caption", "clip", "bright", "rare", "text", "masked", "parrot", "effect", "digits"),
    *("entries", "balance", "threshold", "wfpp", "k_distance", "slof", "lid", "dao", "forest"),
    *("ncl", "norm", "sampled", "asked"),
)


def recipe(pool: Path, store: str, **more: object) -> Recipe:
    """A recipe with every operator (the aesthetic head aside, whose weights nobody has here) and plugins."""
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
    """Every file of the store that the plain loop makes."""
    made = recipe(pool, "local")
    compute(Session.open(made), LocalExecutor())
    return tree(pool / "local")


def few(workers: int) -> dict[str, object]:
    """So many workers for the operators, which share one pool."""
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
    run = few(1) | {"bright": {"gpus": 1}}  # Brightness pays no heed to the device: only placement is tested
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


def test_place_fits_two_cpus() -> None:
    """A laptop: two CPU stages and the readers share two CPUs."""
    stages = [Stage(("a",), Resources()), Stage(("b",), Resources(batch_size=32))]
    placed = place(stages, [Node(2, 0)], 100)
    assert [p.workers for p in placed] == [1, 1]
    assert sum(p.workers * p.cpus for p in placed) == pytest.approx(1.5)


def test_place_gives_each_gpu_a_worker_and_it_the_cpus() -> None:
    placed = place([Stage(("clip",), Resources(gpus=1))], [Node(16, 4), Node(16, 4)], 100)[0]
    assert (placed.workers, placed.gpus, placed.cpus, placed.threads) == (8, 1, 3.0, 4)


def test_place_reserves_no_more_cpus_than_stand_beside_a_gpu() -> None:
    """256 CPUs elsewhere do not help a GPU machine of 8."""
    placed = place([Stage(("clip",), Resources(gpus=1))], [Node(256, 0), Node(8, 2)], 100)[0]
    assert (placed.workers, placed.cpus, placed.threads) == (2, 3.0, 4)


def test_place_puts_no_worker_where_no_machine_is_large_enough() -> None:
    """Sixteen CPUs in machines of two: one worker gets no twelve."""
    nodes = [Node(0, 0), *[Node(2, 0)] * 8]
    assert place([Stage(("clip",), Resources(workers=1))], nodes, 100)[0].cpus == 1.5
    with pytest.raises(RecipeError, match=r"run.clip.cpus asks for 4, the largest machine .* has 2"):
        place([Stage(("clip",), Resources(cpus=4))], nodes, 100)


def test_place_leaves_room_for_the_gpu_stage_in_whatever_order() -> None:
    """The CPU stage's workers may come first and lie on the GPU machine too."""
    nodes = [Node(0, 0), Node(2, 0), Node(2, 0), Node(2, 1)]
    text, clip = place([Stage(("text",), Resources()), Stage(("clip",), Resources(gpus=1))], nodes, 100)
    assert (text.workers, text.cpus) == (3, 0.75)
    assert clip.cpus <= 2 - text.workers * text.cpus or clip.cpus == 0


def test_place_counts_gpus_by_machine() -> None:
    """0.4 of a GPU is two on each, and two GPUs are on no machine of one."""
    nodes = [Node(8, 1), Node(8, 1)]
    assert place([Stage(("clip",), Resources(gpus=0.4))], nodes, 100)[0].workers == 4
    with pytest.raises(RecipeError, match=r"run.clip.gpus asks for 2, the largest machine has 1"):
        place([Stage(("clip",), Resources(gpus=2))], nodes, 100)


def test_small_shards_share_a_task() -> None:
    def shards(count: int, size: int | None) -> list[Shard]:
        return [Shard(f"{number}", f"{number}.tar", size) for number in range(count)]

    assert read_tasks(shards(3, 100), 4) == 3
    assert read_tasks(shards(10_000, 20_000), 4) == 32
    assert read_tasks(shards(1000, 64 << 20), 4) == 1000
    assert read_tasks(shards(1000, 16 << 20), 4) == 250
    assert read_tasks(shards(1000, None), 4) == 1000
    assert read_tasks(shards(100_000, 300 << 20), 400) == MOST_TASKS


def test_place_takes_machines_that_have_the_memory() -> None:
    nodes = [Node(8, 0, 16), Node(8, 0, 64), Node(8, 0, 100)]
    placed = place([Stage(("clip",), Resources(memory=30))], nodes, 100)[0]
    assert (placed.workers, placed.memory) == (5, 30)
    with pytest.raises(RecipeError, match=r"run.clip.memory asks for 200, the largest machine has 100 GiB"):
        place([Stage(("clip",), Resources(memory=200))], nodes, 100)
    with pytest.raises(RecipeError, match=r"run.clip: no machine has both 1 GPUs and 30 GiB"):
        place([Stage(("clip",), Resources(gpus=1, memory=30))], [*nodes, Node(4, 1, 16)], 100)


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


def test_place_starts_no_worker_without_a_batch() -> None:
    assert place([Stage(("clip",), Resources())], [Node(64, 0)], 3)[0].workers == 3


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        (Resources(gpus=1), "run.clip.gpus asks for 1, the cluster has 0"),
        (Resources(workers=8, cpus=1), "the pools need 8.25 CPUs"),
        (Resources(workers=2, cpus=1), "the pools need 2.25 CPUs"),
    ],
)
def test_place_refuses_what_would_hang(resources: Resources, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        place([Stage(("clip",), resources)], [Node(2, 0)], 100)


@pytest.mark.parametrize("key", ["pool.shards", "pool.store", "export.shards", "export.subset"])
def test_a_job_on_a_cluster_takes_no_relative_path(key: str) -> None:
    data: dict = {
        "pool": {"shards": "/pool", "store": "/store"},
        "export": {"shards": "/out", "subset": "/s.npy"},
    }
    check_paths(parse(data))
    section, field = key.split(".")
    data[section][field] = "here/too"
    with pytest.raises(RecipeError, match=f"{key} must be an absolute path .* got 'here/too'"):
        check_paths(parse(data))


def test_the_plain_loop_imports_no_ray(pool: Path) -> None:
    code = (
        "import sys; from tests.pipeline.run.test_on_ray import recipe; from pathlib import Path\n"
        "sys.modules.pop('ray', None); [sys.modules.pop(m) for m in list(sys.modules) if m.startswith('ray.')]\n"
        "from pipeline.run.compute import LocalExecutor, compute; from pipeline.plan.session import Session\n"
        f"compute(Session.open(recipe(Path({str(pool)!r}), 'noray')), LocalExecutor())\n"
        "assert 'ray' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])
