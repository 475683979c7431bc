"""The arithmetic of MetaCLIP's balancing, free of columns and batches.

Source: MetaCLIP (arXiv 2309.16671) algorithm 1: an entry with `count` captions keeps each of them with
probability t / max(count, t); MetaCLIP 2 (arXiv 2507.22062) section 3.3 for t by language.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

STEPS = 64  # of Newton's method at most; it converges from one side, usually in five
CLOSE = 1e-13  # relative size of the last step
COUNTS = ("language", "entry", "count")  # columns of a table of counts


class Balance:
    """A table of counts, laid out for lookup: entry `e` of a language lies at index `base[language] + e`."""

    def __init__(self, counts: pl.DataFrame, t: float = 1.0, tail_of: str = "") -> None:
        self.base: dict[str | None, int] = {}
        arrays = [np.zeros(0, np.uint64)]
        thresholds = [np.zeros(0)]
        size = 0
        tables = counts.drop_nulls("entry").sort("language").partition_by("language", as_dict=True)
        languages = {language: own for (language,), own in tables.items()}
        t_of = thresholds_by_language(
            {n: own["count"].to_numpy() for n, own in languages.items()}, t, tail_of
        )
        for language, own in languages.items():
            found = np.bincount(own["entry"].to_numpy(), own["count"].to_numpy()).astype(np.uint64)
            self.base[language] = size
            size += len(found)
            arrays.append(found)
            thresholds.append(np.full(len(found), t_of[language]))
        self.count = np.concatenate(arrays)
        self.probability = entry_probability(self.count, np.concatenate(thresholds))

    def places(
        self, ids: np.ndarray, counts: np.ndarray, languages: Sequence[str | None] | None
    ) -> np.ndarray:
        """(total,) indices of the entries of some rows: `ids` of all rows, (n,) `counts` per row, and a
        language per row, or None for a table without languages."""
        if languages is None:
            return ids + np.int64(self.base.get(None, 0))
        base = np.array([self.base.get(language, 0) for language in languages], np.int64)
        return ids + np.repeat(base, counts)


def entry_probability(count: np.ndarray, t: np.ndarray | float) -> np.ndarray:
    """t / max(count, t), element by element."""
    found: np.ndarray = t / np.maximum(count, t)
    return found


def thresholds_by_language(
    counts: Mapping[Any, np.ndarray], t: float, tail_of: str = ""
) -> dict[str | None, float]:
    """Each language's t, from its counts. With `tail_of`, t is that language's, and the others follow by its
    tail share. Raises ValueError if that language has no counts."""
    if not tail_of:
        return dict.fromkeys(counts, t)
    if tail_of not in counts:
        languages = ", ".join(str(language) for language in counts)
        raise ValueError(f"tail_of must be a language with matches, got {tail_of!r}; there are: {languages}")
    share = tail_share(counts[tail_of], t)
    return {
        language: t if language == tail_of else tail_threshold(c, share) for language, c in counts.items()
    }


def tail_share(counts: np.ndarray, t: float) -> float:
    """The share of all matches that entries with fewer than t of them hold."""
    return float(counts[counts < t].sum() / counts.sum())


def tail_threshold(counts: np.ndarray, share: float) -> float:
    """The count, of those given, up to which entries hold the share of matches nearest to `share`."""
    ordered = np.sort(counts)
    return float(ordered[np.abs(np.cumsum(ordered) / ordered.sum() - share).argmin()])


def effective_t(before: np.ndarray, after: np.ndarray) -> float:
    """The t whose sum of min(count, t) over `before` is the sum of `after`: solved exactly, since the sum is
    piecewise linear in t. inf if nothing was lost."""
    ordered = np.sort(before).astype(np.float64)
    wanted = float(after.sum())
    if wanted >= ordered.sum():
        return float("inf")
    below = np.concatenate([[0.0], np.cumsum(ordered)[:-1]])
    sums = below + ordered * np.arange(len(ordered), 0, -1)  # at t = each count
    segment = int(np.searchsorted(sums, wanted))
    return float((wanted - below[segment]) / (len(ordered) - segment))


def keep_probability(probability: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """(n,) 1 - prod(1 - p) over each row's `counts[i]` consecutive entries; 0 for a row without any."""
    with np.errstate(divide="ignore"):
        lost = np.log1p(-probability)
    found: np.ndarray = -np.expm1(row_sums(lost, counts))
    return found


def row_sums(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """(n,) sums over runs of `counts[i]` consecutive values; 0 for an empty run."""
    sums = np.zeros(len(counts))
    full = counts > 0
    if full.any():
        starts = np.cumsum(counts) - counts
        sums[full] = np.add.reduceat(values, starts[full])
    return sums


def critical_t(count: np.ndarray, counts: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """(n,) the smallest t with 1 - prod(1 - t / max(count, t)) >= draw, per row of `counts[i]` entries; NaN
    for a row without any. By Newton's method on g(t) = sum(log(1 - t / count)) - log(1 - draw), concave and
    falling, from the right, so that it never leaves (0, smallest count)."""
    thresholds = np.full(len(counts), np.nan)
    rows = np.flatnonzero(counts)
    lengths = counts[rows]
    weights = 1.0 / count.astype(np.float64)
    wanted = np.log1p(-draws[rows])
    if len(rows):
        starts = np.cumsum(lengths) - lengths
        rarest = 1.0 / np.maximum.reduceat(weights, starts)
        thresholds[rows] = np.minimum(-wanted / np.add.reduceat(weights, starts), draws[rows] * rarest)
    for _ in range(STEPS):
        if not len(rows):
            break
        starts = np.cumsum(lengths) - lengths
        t = thresholds[rows]
        rest = 1.0 - np.repeat(t, lengths) * weights
        step = (np.add.reduceat(np.log(rest), starts) - wanted) / np.add.reduceat(weights / rest, starts)
        thresholds[rows] = np.maximum(t + step, 0.0)
        moving = np.abs(step) > CLOSE * t  # a row stops by itself, whatever its neighbours do
        weights = weights[np.repeat(moving, lengths)]
        rows = rows[moving]
        lengths = lengths[moving]
        wanted = wanted[moving]
    return thresholds


# --- what balancing did ---------------------------------------------------------------------------

SHOWN = 30  # entries that are reduced most, and least
PARTS = (0.5, 0.9)  # shares of all occurrences at which the head and the torso end


def compare(
    before: pl.DataFrame, after: pl.DataFrame, names: Mapping[str | None, Sequence[str]]
) -> dict[str, pl.DataFrame]:
    """Tables that show what balancing did; the arguments are tables of EntryCount, and each language's
    entries.

    summary  figures, before and after, of all languages and of each
    head     the ten most frequent entries
    tail     the ten least frequent entries
    most     the entries that were reduced most
    least    of the more frequent half, the entries that were reduced least
    parts    the entries in three parts, see `tail_parts`
    entries  all entries, the most frequent first
    """
    key = ["language", "entry"]
    kept = after.drop_nulls("entry").select(*key, after="count")
    joined = (
        before.drop_nulls("entry")
        .select(*key, before="count")
        .join(kept, on=key, how="left", nulls_equal=True)
    )
    texts = [
        names[language][entry] if language in names else str(entry)
        for language, entry in joined.select(key).iter_rows()
    ]
    entries = (
        joined.with_columns(pl.col("after").fill_null(0), text=pl.Series(texts, dtype=pl.String))
        .with_columns(kept=pl.col("after") / pl.col("before"))
        .select("language", "entry", "text", "before", "after", "kept")
        .sort(["before", *key], descending=[True, False, False])
    )
    languages = entries["language"].drop_nulls().unique().sort().to_list()
    by_loss = entries.sort(["kept", "before", *key], descending=[False, True, False, False])
    many = by_loss.filter(pl.col("before") >= by_loss["before"].median()) if len(by_loss) else by_loss
    return {
        "summary": pl.concat([_summary(before, after, entries, language) for language in [None, *languages]]),
        "head": entries.head(10),
        "tail": entries.tail(10),
        "most": by_loss.head(SHOWN),
        "least": many.tail(SHOWN).reverse(),
        "parts": tail_parts(entries["before"].to_numpy(), entries["after"].to_numpy()),
        "entries": entries,
    }


def tail_parts(before: np.ndarray, after: np.ndarray) -> pl.DataFrame:
    """(k,) counts of concepts before and after a decision -> `part`, `concepts`, `before`, `after`, `kept`:
    the head, the most frequent concepts, which have half of all occurrences before; the torso, those that
    have the next four tenths; the tail, the rest."""
    order = np.argsort(-before.astype(np.int64), kind="stable")
    counts = before[order].astype(np.int64)
    earlier = np.cumsum(counts) - counts  # occurrences of the concepts before each
    part = np.searchsorted(np.array(PARTS) * counts.sum(), earlier, side="right")
    sums = [np.bincount(part, side[order], minlength=3).astype(np.int64) for side in (before, after)]
    table = pl.DataFrame(
        {
            "part": ["head", "torso", "tail"],
            "concepts": np.bincount(part, minlength=3),
            "before": sums[0],
            "after": sums[1],
        }
    )
    return table.with_columns(kept=(pl.col("after") / pl.col("before")).fill_nan(None))


def _summary(
    before: pl.DataFrame, after: pl.DataFrame, entries: pl.DataFrame, language: str | None
) -> pl.DataFrame:
    """The figures of one language, or of all (None): language, figure, before, after."""
    chosen = pl.lit(True) if language is None else pl.col("language") == language
    own = entries.filter(chosen)
    tables = [table.filter(chosen) for table in (before, after)]
    pairs = [own["before"].to_numpy(), own["after"].to_numpy()]
    t = effective_t(*pairs) if len(own) else float("inf")
    texts = [int(table["texts"].sum()) for table in tables]
    none = [int(table.filter(pl.col("entry").is_null())["count"].sum()) for table in tables]
    figures: dict[str, Sequence[float | None]] = {
        "captions": texts,
        "captions that match no entry, share": [_ratio(n, all_) for n, all_ in zip(none, texts, strict=True)],
        "matches": [int(count.sum()) for count in pairs],
        "matches per matched caption": [
            _ratio(count.sum(), all_ - n) for count, all_, n in zip(pairs, texts, none, strict=True)
        ],
        "entries with a match": [int((count > 0).sum()) for count in pairs],
        "matches of the most frequent 1 % of entries, share": [_top_share(count) for count in pairs],
        "effective t": [None, t],
        "entries with more than t matches": [int((count > t).sum()) for count in pairs],
        "tail share: matches of entries with fewer than t": [
            _ratio(count[pairs[0] < t].sum(), count.sum()) for count in pairs
        ],
    }
    return pl.DataFrame(
        [(language, figure, *values) for figure, values in figures.items()],
        schema={"language": pl.String, "figure": pl.String, "before": pl.Float64, "after": pl.Float64},
        orient="row",
    )


def _ratio(part: float, whole: float) -> float:
    """part / whole; 0 if there is nothing to divide by."""
    return float(part / whole) if whole else 0.0


def _top_share(counts: np.ndarray) -> float:
    """The share of all matches that the most frequent hundredth of the entries holds."""
    ordered = np.sort(counts)[::-1]
    return _ratio(ordered[: -(-int((counts > 0).sum()) // 100)].sum(), counts.sum())
