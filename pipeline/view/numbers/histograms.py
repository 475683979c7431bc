"""The distribution of a rule's column, over all samples and over those that are kept."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from pipeline.rule import Rule
from pipeline.view.numbers.extents import Extent
from pipeline.view.numbers.values import numbers
from pipeline.view.rows import FATE, KEPT

BINS = 60
MOST_WHOLE = 80  # whole numbers that are a bin each
MOST_TEXTS = 20  # texts of a rule that are a bin each
OTHER_TEXTS = 4  # texts beside them that are, too
REST = "others"
INNER = (0.005, 0.995)  # quantiles between which the bins lie; what is beyond is counted as below and above
NEAR = 0.25  # of that width: if an end of the values is so near, the bins reach to it


@dataclass(frozen=True)
class Histogram:
    """How many samples have a value in which bin.

    edges   (bins + 1) numbers; a bin has its lower edge, the last one both. None if the column is of texts
    labels  (bins) texts instead
    all     (bins) samples
    kept    (bins) samples that are kept
    below, above   samples below the first and above the last edge
    """

    edges: list[float] | None
    labels: list[str] | None
    all: list[int]
    kept: list[int]
    below: int = 0
    above: int = 0


def edges_of(sample: np.ndarray, extent: Extent | None) -> np.ndarray:
    """The edges of a histogram, ascending; none if there is no finite value. `sample`: (n,) finite float64
    values of the column; `extent`: that of a sliding rule."""
    if not len(sample):
        return np.zeros(0)
    lowest, highest = (extent.low, extent.high) if extent else (sample.min(), sample.max())
    low, high = np.quantile(sample, INNER, method="nearest").tolist()
    room = NEAR * high - NEAR * low
    low = lowest if lowest >= low - room else low
    high = highest if highest <= high + room else high
    if extent and (extent.dtype.is_integer() or extent.dtype == pl.Boolean):
        step = max(1, int(np.ceil((high - low + 1) / MOST_WHOLE)))
        return np.arange(np.floor(low), np.ceil(high) + step + 1, step) - 0.5
    if low == high:
        return np.array([low, np.nextafter(low, np.inf)]) if low else np.array([0.0, 1e-9])
    return 2 * np.linspace(low / 2, high / 2, BINS + 1)  # halves: the width may overflow


class Histograms:
    """Counts bins exactly. A gatherer (see gather.py). `edges`: rule -> edges; `texts`: rule -> the texts
    that get a bin each."""

    def __init__(
        self, rules: Mapping[str, Rule], edges: Mapping[str, np.ndarray], texts: Mapping[str, list[str]]
    ) -> None:
        self.rules = {name: rules[name] for name in (*edges, *texts)}
        self.columns = [rule.column for rule in self.rules.values()]
        self.edges = {name: own for name, own in edges.items() if len(own)}
        self.texts = dict(texts)
        self._counts: dict[str, np.ndarray] = {}

    def look(self, frame: pl.DataFrame) -> dict[str, np.ndarray]:
        """See Gatherer. Rule -> (2, bins): all rows, kept rows."""
        kept = (frame[FATE] == KEPT).to_numpy()
        seen = {}
        for name, edges in self.edges.items():
            places = _places(numbers(frame[self.rules[name].column]), edges)
            seen[name] = _counted(places, kept, len(edges) + 2)
        for name, texts in self.texts.items():
            places = _text_places(frame[self.rules[name].column], texts)
            seen[name] = _counted(places, kept, len(texts) + 2)
        return seen

    def add(self, seen: dict[str, np.ndarray]) -> None:
        """See Gatherer."""
        for name, counts in seen.items():
            self._counts[name] = self._counts[name] + counts if name in self._counts else counts

    def of(self, name: str) -> Histogram | None:
        """The histogram of a rule; None if its column has nothing to draw."""
        if name not in self._counts:
            return None
        every, kept = self._counts[name].tolist()
        if name in self.texts:
            labels = [*self.texts[name], REST]
            return Histogram(None, labels, every[: len(labels)], kept[: len(labels)])
        inner = slice(1, len(self.edges[name]))
        return Histogram(
            self.edges[name].tolist(), None, every[inner], kept[inner], every[0], every[len(self.edges[name])]
        )


def _places(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """(n,) which bin: 0 is below, len(edges) above, one more for no value."""
    places = np.searchsorted(edges, values, side="right")
    places[values == edges[-1]] = len(edges) - 1
    places[np.isnan(values)] = len(edges) + 1
    return places


def _text_places(column: pl.Series, texts: list[str]) -> np.ndarray:
    """(n,) which text; len(texts) is any other, one more is none."""
    numbered = column.replace_strict(
        texts, list(range(len(texts))), default=len(texts), return_dtype=pl.Int64
    )
    return (
        pl.select(pl.when(column.is_null()).then(len(texts) + 1).otherwise(numbered)).to_series().to_numpy()
    )


def _counted(places: np.ndarray, kept: np.ndarray, bins: int) -> np.ndarray:
    """(2, bins) int64: the rows at each place, and those that are kept."""
    return np.stack([np.bincount(places, minlength=bins), np.bincount(places[kept], minlength=bins)])


def frequent_texts(sample: pl.Series, named: Collection[str]) -> list[str]:
    """Texts that get a bin each, most frequent first: those of a sample that the rule names, and a few
    others."""
    counts = sample.alias("text").drop_nulls().value_counts()
    ordered = counts.sort("count", "text", descending=[True, False])["text"].to_list()
    own = [text for text in ordered if text in named][:MOST_TEXTS]
    others = [text for text in ordered if text not in named][:OTHER_TEXTS]
    return [text for text in ordered if text in {*own, *others}]
