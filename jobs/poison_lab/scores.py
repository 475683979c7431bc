"""The detectors of `operators/outliers.py` on a poisoned model's embeddings: scores and figures.

The detectors are the operators that a recipe uses. Two comparisons are beside them: the released code's
scores in random batches (`algorithms.embeddings.outliers.published`), and the CLIP score, by which learnt
poison looks like a good match.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from sklearn.metrics import average_precision_score, roc_auc_score

from operators.algorithms.embeddings.neighbours import Points
from operators.algorithms.embeddings.outliers import lid, published
from operators.algorithms.embeddings.outliers import scores as local_scores
from operators.mix import Highest
from operators.outliers import Dao, IsolationForest, KDistance, Lid, Reference, Slof
from pipeline.operator import Device, Score, Stat
from pipeline.recipe.check import check
from pipeline.recipe.load import load
from pipeline.rule import Cut, Rule

RECIPE = Path(__file__).parents[1] / "recipes" / "backdoor.yaml"
BATCH = 2048  # samples per batch of the released code
DETECTORS = {
    "k-distance": KDistance,
    "SLOF": Slof,
    "LID": Lid,
    "DAO": Dao,
    "isolation forest": IsolationForest,
}


@dataclass(frozen=True)
class Settings:
    """A reference: samples per draw, neighbours, draws, and whether embeddings are normalised first."""

    size: int = 2048
    k: int = 64
    draws: int = 4
    normalise: bool = False


def frame(images: np.ndarray, texts: np.ndarray | None = None) -> pl.DataFrame:
    """(n, d) embeddings as the rows of a pool: `uid`, `shard`, `row`, `text`, `image`, and `caption` for
    texts."""
    rows = np.arange(len(images))
    columns = {"image": images} if texts is None else {"image": images, "caption": texts}
    return pl.DataFrame(
        {
            "uid": [f"{row:032x}" for row in rows],
            "shard": "laboratory",
            "row": rows.astype(np.int64),
            "text": "",
            **{name: pl.Series(values.astype(np.float32)) for name, values in columns.items()},
        }
    )


def scores(
    rows: pl.DataFrame, settings: Settings, names: Sequence[str] = tuple(DETECTORS)
) -> dict[str, np.ndarray]:
    """The detectors' (n,) scores of a `frame`. If it has captions, these are in the reference too."""
    values = {}
    tables = {"reference": reference(rows, settings)}
    for name in names:
        operator = DETECTORS[name](embedding="image", reference="reference")
        operator.setup(tables, Device())
        values[name] = operator.score(rows)["score"].to_numpy()
    return values


def reference(rows: pl.DataFrame, settings: Settings) -> pl.DataFrame:
    """The table of `outliers.Reference`, as the engine makes it."""
    stat = Reference(
        embedding="image",
        text_embedding="caption" if "caption" in rows.columns else "",
        normalise=settings.normalise,
        size=settings.size,
        k=settings.k,
        draws=settings.draws,
    )
    return stat.finish(stat.merge(stat.partial(rows)))


def by_recipe(path: Path, clips: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> pl.DataFrame:
    """Which rows a recipe keeps: `keep` Boolean, then the columns of its operators.

    `clips` has, by the name of each of its `clip.ClipScore`, the (n, d) embeddings of pictures and captions
    as the model gives them. They are stored as the operator stores them. Other operators run as they are.
    """
    recipe = load(str(path))
    rules = recipe.keep.values()
    rows = pl.concat([_stored(name, *pair) for name, pair in clips.items()], how="horizontal")
    rows = frame(next(iter(clips.values()))[0]).drop("image").hstack(rows)
    tables = {}
    for name, entry in check(recipe).items():
        if name in clips:
            continue
        if isinstance(operator := entry.operator, Stat):
            tables[name] = operator.finish(operator.merge(operator.partial(rows)))
        elif isinstance(operator, Score):
            operator.setup(tables, Device())
            found = operator.score(rows)
            rows = rows.hstack([found[column].alias(f"{name}.{column}") for column in operator.writes])
    kept = [rule.verdict(rows[rule.column], rows["uid"], cut(rows[rule.column], rule)) for rule in rules]
    return rows.select(keep=pl.all_horizontal(kept)).hstack(rows)


def suspicion(path: Path, columns: pl.DataFrame) -> dict[str, np.ndarray]:
    """(n,) values of each column that the recipe mixes, and of those that its rules read.

    Higher is more suspicious.
    """
    recipe = load(str(path))
    signs = {rule.column: 1.0 if rule.bottom else -1.0 for rule in recipe.keep.values()}
    for entry in recipe.compute.values():
        if isinstance(mixed := entry.operator, Highest):
            signs |= dict(zip(mixed.scores, np.sign(mixed.weights).tolist(), strict=True))
    return {column: sign * columns[column].to_numpy() for column, sign in signs.items()}


def cut(values: pl.Series, rule: Rule) -> Cut:
    """The value at which a rule for a share of the (n,) finite values cuts."""
    order = values.sort(descending=rule.top is not None)
    return Cut(order[round((rule.top or rule.bottom or 1) * len(order)) - 1])


def _stored(name: str, images: np.ndarray, texts: np.ndarray) -> pl.DataFrame:
    """The columns of a `clip.ClipScore` of the name `name`."""
    columns, units = {}, []
    for kind, vectors in (("image", images), ("text", texts)):
        lengths = np.linalg.norm(vectors, axis=1)
        units.append(vectors / lengths[:, None])
        columns[f"{name}.{kind}_embedding"] = pl.Series(units[-1].astype(np.float16))
        columns[f"{name}.{kind}_norm"] = pl.Series(lengths.astype(np.float32))
    columns[f"{name}.score"] = pl.Series((units[0] * units[1]).sum(1).astype(np.float32))
    return pl.DataFrame(columns)


def in_batches(images: np.ndarray, k: int, seed: int) -> dict[str, np.ndarray]:
    """The released code's SLOF and DAO of (n, d) embeddings, in random batches of about 2,048."""
    scored = {name: np.empty(len(images)) for name in ("slof", "dao")}
    order = np.random.default_rng(seed).permutation(len(images))
    for part in np.array_split(order, max(1, round(len(images) / BATCH))):
        for name, values in published(images[part], min(k, len(part) - 2)).items():
            if name in scored:
                scored[name][part] = values
    return {f"{name.upper()}, released": values for name, values in scored.items()}


def by_reference(
    images: np.ndarray,
    poisoned: np.ndarray,
    sizes: Sequence[int],
    ks: Sequence[int],
    rng: np.random.Generator,
) -> dict[tuple[int, int], tuple[float, float]]:
    """AUROC of SLOF and DAO by (size of the reference, k); a size of 0 takes all rows.

    `images` is (n, d), `poisoned` (n,) bool. There is one search for neighbours per size.
    """
    areas = {}
    for size in [min(size, len(images)) or len(images) for size in sizes]:
        chosen = np.sort(rng.permutation(len(images))[:size])
        own = np.full(len(images), -1)
        own[chosen] = np.arange(size)
        points = Points(images[chosen], own[chosen], Device())
        inside, _ = points.nearest(images[chosen], own[chosen], max(ks))
        distances, near = points.nearest(images, own, max(ks))
        for k in ks:
            lids, ids = lid(inside[:, :k]), near[:, :k]
            values = local_scores(distances[:, :k], inside[ids, k - 1], lids[ids])
            slof, dao = (float(roc_auc_score(poisoned, values[name])) for name in ("slof", "dao"))
            areas[size, k] = (slof, dao)
    return areas


def figures(values: np.ndarray, poisoned: np.ndarray) -> dict[str, float]:
    """AUROC, average precision, and the share of poisons in the 1 % and the 10 % of highest scores.

    `values` is (n,), higher is more suspicious; `poisoned` is (n,) bool.
    """
    ranks = np.argsort(-values, kind="stable")
    recalls = {
        f"recall at {share:.0%}": float(poisoned[ranks[: round(share * len(ranks))]].sum() / poisoned.sum())
        for share in (0.01, 0.1)
    }
    area, precision = roc_auc_score(poisoned, values), average_precision_score(poisoned, values)
    return {"AUROC": float(area), "average precision": float(precision), **recalls}


def local(images: np.ndarray) -> dict[str, np.ndarray]:
    """k-distance, SLOF, LID and DAO of (n, d) embeddings: (n,) scores each."""
    return scores(frame(images), Settings(), list(DETECTORS)[:4])


def views(images: np.ndarray, texts: np.ndarray) -> Mapping[str, dict[str, np.ndarray]]:
    """Each detector's (n,) scores, by the embeddings that it sees: images, captions or both, (n, d) each."""
    alone, both = frame(images), frame(images, texts)
    lengths = np.linalg.norm(images, axis=1) * np.linalg.norm(texts, axis=1)
    return {
        "images": scores(alone, Settings()) | in_batches(images, 16, 0),
        "images, unit length": scores(alone, Settings(normalise=True)),
        "images and texts": scores(both, Settings()),
        "pairs": {"CLIP score, low": -(images * texts).sum(1) / lengths},
    }
