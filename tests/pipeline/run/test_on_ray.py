"""The same passes on Ray Data: equal bytes, whatever the number of workers."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from pipeline.plan.session import Session
from pipeline.recipe.load import parse
from pipeline.recipe.sections import Recipe
from pipeline.run.compute import compute
from pipeline.run.on_ray import RayExecutor
from tests.pipeline.run.ray_passes import run_on_ray
from tests.support.folders import tree
from tests.support.paths import PLUGINS, ROOT
from tests.support.sizes import only_full

pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own


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
    "listed",
]


GROUPS = ["copies", "place", "shared"]


FEW = ["caption", "bright", "words", "rare", "place", "listed", "shared"]  # of images, texts, a Stat, Groups


def recipe(pool: Path, store: str, only: Sequence[str] = (), **more: object) -> Recipe:
    """A recipe with every operator but the aesthetic head, whose weights are a download, and with plugins; or
    with some of them `only`."""
    model = Path(__file__).parents[3] / "jobs" / "toy" / "models" / "scene_clip"
    weights = {"model": f"{model}.json", "pretrained": f"{model}.safetensors"}
    compute = {
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
        "copies": {"use": "duplicates.Exact", "key": "text", "best": "ncl.score"},
        "place": {"use": "meeting.Place", "key": "caption.words", "most": 5},
        "listed": {"use": "meeting.Words"},
        "shared": {"use": "meeting.Shared", "words": "listed.words"},
    }
    return parse(
        {
            "plugins": [str(PLUGINS)],
            "pool": {"shards": f"{pool}/pool/*.tar", "store": str(pool / store)},
            "compute": {name: compute[name] for name in only or compute},
            **more,
        }
    )


# Computes a recipe in the plain loop, and prints whether that has imported Ray
PLAIN = """
import sys
from pathlib import Path
from pipeline.plan.session import Session
from pipeline.run.compute import compute
from pipeline.run.executor import LocalExecutor
from tests.pipeline.run.test_on_ray import recipe
for name in list(sys.modules):
    if name.split(".")[0] == "ray" or name == "pipeline.run.on_ray":
        del sys.modules[name]
compute(Session.open(recipe(Path(sys.argv[1]), "local")), LocalExecutor())
print("ray" in sys.modules)
"""


@pytest.fixture(scope="module")
def plain(pool: Path) -> str:
    """Compute the recipe in the plain loop, in a process of its own; whether that has imported Ray."""
    command = [sys.executable, "-c", PLAIN, str(pool)]
    return subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.PIPE, text=True).stdout


@pytest.fixture(scope="module")
def local(pool: Path, plain: str) -> dict[str, bytes]:
    """Every file of the plain loop's store."""
    return tree(pool / "local")


@pytest.fixture(scope="module")
def few_of_local(local: dict[str, bytes]) -> dict[str, bytes]:
    """The files of the samples and of FEW in the plain loop's store."""
    folders = {name: f"{name}/".split("/")[1].rsplit("-", 1)[0] for name in local}
    return {
        name: data
        for name, data in local.items()
        if name == "store.json" or name.startswith("samples/") or folders[name] in FEW
    }


def run_of(names: Sequence[str], workers: int) -> dict[str, object]:
    """A `run:` section: `workers` workers for the operators of these, which share one pool."""
    little = {name: {"memory": 1e-5} for name in GROUPS if name in names}  # GiB: several partitions
    return {name: {"workers": workers, "cpus": 0.5} for name in SCORES if name in names} | little


@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize("workers", [pytest.param(1, marks=only_full), 2, pytest.param(4, marks=only_full)])
def test_ray_equals_the_plain_loop_to_the_byte(pool: Path, local: dict[str, bytes], workers: int) -> None:
    run_on_ray(recipe(pool, f"ray{workers}", run=run_of([*SCORES, *GROUPS], workers)))
    made = tree(pool / f"ray{workers}")
    assert made.keys() == local.keys()
    assert [name for name in local if made[name] != local[name]] == []
    # shards' samples and columns; meta.json of these; Stats with theirs; store.json; digests of files
    columns = len(SCORES) + len(GROUPS)
    parts = 3 * (1 + columns)
    assert {parts + columns + 2 * len(STATS) + 1} == {len(local.keys() - {"digests.json"})}


@pytest.mark.usefixtures("local_ray")
def test_two_stages_one_of_them_on_a_gpu(pool: Path, few_of_local: dict[str, bytes]) -> None:
    run = run_of(FEW, 1) | {"bright": {"gpus": 1}}  # on CPU anyway: the test is about placement
    log = run_on_ray(recipe(pool, "gpu", FEW, run=run))
    assert log.workers["bright"] == 1
    assert tree(pool / "gpu") == few_of_local


@pytest.mark.usefixtures("local_ray")
def test_a_missing_shard_stays_pending_and_the_rest_is_done(
    pool: Path, few_of_local: dict[str, bytes]
) -> None:
    made = recipe(pool, "missing", FEW, run=run_of(FEW, 1))
    shards = (*Session.open(made).shards,)
    gone = Session(made, (*shards[:2], type(shards[0])("00002", str(pool / "pool" / "nowhere.tar"))))
    log = compute(gone, RayExecutor(made))
    assert list(log.pending) == ["00002"]
    assert "FileNotFoundError" in log.pending["00002"]
    done = tree(pool / "missing")
    assert done["samples/00000.parquet"] == few_of_local["samples/00000.parquet"]


@pytest.mark.usefixtures("local_ray")  # not that it needs Ray: `plain` runs once for all of them
def test_the_plain_loop_imports_no_ray(plain: str) -> None:
    assert plain == "False\n"
