"""Bias of a pool: attributes that are rarer than wished, or that go with some labels more than with others,
and how often to take each sample so that both are evened out.

    woman:    {use: bias.Mentions, words: words_for_women.txt}
    doctor:   {use: bias.Mentions, words: words_for_doctors.txt}
    nurse:    {use: bias.Mentions, words: words_for_nurses.txt}
    patterns: {use: bias.Patterns, attributes: woman.mentioned,
               labels: [doctor.mentioned, nurse.mentioned]}
    matched:  {use: bias.MomentMatching, attributes: woman.mentioned,
               labels: [doctor.mentioned, nurse.mentioned], patterns: patterns, rate: 0.9}
    keep:
      matched.weight: {chance: true, missing: keep}

If half of the samples are to have an attribute, and as many with it as without it a label, those that are too
many are taken less often, and the rest more. M4 finds the weights that do it and are otherwise as equal as
possible. `winnow effects` shows both kinds of bias before and after. An attribute, such as a person's gender,
is yours to supply, as words that captions use or as a column; nothing here looks at faces. Deduplicate and
filter before you balance: what a filter removes may be uneven.

Columns
    Mentions        mentioned  Boolean  one of the words occurs in the caption; null without a caption
    MomentMatching  weight     Float64  how often to take the sample on average, in [0, `most`], higher for
                                        patterns that are too rare: for a rule with `chance`; null if an
                                        attribute or a label is
                    repeats    UInt32   how often to take it, by its draw: 0 to `most`; null with `weight`
Errors: `no caption`.
Source: M4 (Alabdulmohsin et al., ICLR 2024, arXiv 2403.04547), Multi-Modal Moment Matching. Representation
    bias is how far the share of an attribute is from its target; association bias how much more frequent a
    label is with an attribute than without it.
Differs: M4 solves a stream with stochastic steps and takes a utility per sample; here the samples of a
    pattern are alike, so that the table of patterns has the exact solution. Its bounds are on
    E[q (s - target) y], not on the bias itself. Attributes and labels of the paper are not public. A target
    that cannot be reached is an error unless a violation has a price.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Self

import numpy as np
import polars as pl
from pydantic import Field, PrivateAttr, model_validator

from operators.algorithms.attribute_patterns import compared, patterns_of, zeros_and_ones
from operators.algorithms.captions import ReadsCaptions
from operators.algorithms.matching import Matcher, read_entries
from operators.algorithms.moment_matching import largest_rate, moments, weights
from operators.algorithms.reasons import no_caption
from pipeline.operator import Columns, Device, File, Operator, Score, Stat, Table
from pipeline.schema import owner
from pipeline.uids import draw

MOST_MOMENTS = 1000  # attributes times (1 + labels)
MOST_CELLS = 50_000_000  # patterns times moments, of which the weights can be found in minutes, in 2 GB
Share = Annotated[float, Field(gt=0, lt=1)]
Bound = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Mentions(ReadsCaptions, Score):
    """Whether a caption mentions something, by a list of words for it.

    Use it for attributes and labels of `bias.Patterns`, or wherever a rule needs to know what captions speak
    of: a rule takes `min: 1` for captions that mention it.

    words  one word or phrase per line, or JSON strings; they are found between spaces or `,.;:?!`, whatever
           their case

    Cost: very cheap. 1,000,000 captions per second on a CPU core (measured).
    """

    words: File

    writes: ClassVar[Mapping[str, Any]] = {"mentioned": pl.Boolean}
    _matcher: Any = PrivateAttr(None)

    def setup(self, stats: Mapping[str, pl.DataFrame], device: Device) -> None:
        """Read the words. Raises ValueError for a file without any."""
        words = [" ".join(word.lower().split()) for word in read_entries(self.words)]
        if not any(words):
            raise ValueError(f"words: {self.words} must have a word or phrase per line, got none")
        self._matcher = Matcher([word for word in words if word], "english")

    def score(self, batch: pl.DataFrame) -> pl.DataFrame:
        """(n,) captions -> (n,) whether they mention it."""
        _, counts = self._matcher(batch[self.text].str.to_lowercase())
        known = batch[self.text].is_not_null()
        return batch.select(
            mentioned=pl.when(known).then(pl.Series(counts > 0)),
            error=no_caption(self.text),
        )


class _Attributed(Operator):
    """Base of the two.

    attributes  columns of yes and no, Booleans or numbers (above 0 is yes), whose shares are to be evened out
    labels      columns of yes and no that shall not go with the attributes
    """

    attributes: Columns
    labels: Columns

    @model_validator(mode="after")
    def _few_and_distinct(self) -> Self:
        """Refuse a column that comes twice, and too many of them."""
        names = self._names()
        if len(set(names)) < len(names):
            raise ValueError("must have each column once in `attributes` and `labels`")
        if (
            not self.attributes
            or len(_listed(self.attributes)) * (1 + len(_listed(self.labels))) > MOST_MOMENTS
        ):
            raise ValueError(f"must have attributes x (1 + labels) of 1 to {MOST_MOMENTS}")
        return self

    def unfit(self, columns: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
        """See Operator: each column must be Boolean or hold numbers."""
        for field in ("attributes", "labels"):
            for column in _listed(getattr(self, field)):
                dtype = columns.get(column)
                if dtype is not None and not (dtype.is_numeric() or dtype == pl.Boolean):
                    yield field, column, "Boolean, or numbers"

    def _names(self) -> tuple[str, ...]:
        """All columns, the attributes first."""
        return (*_listed(self.attributes), *_listed(self.labels))


def _listed(columns: str | tuple[str, ...]) -> tuple[str, ...]:
    """One column, several or none, as several."""
    return ((columns,) if columns else ()) if isinstance(columns, str) else columns


class Patterns(_Attributed, Stat):
    """How many samples have which of the attributes and labels.

    Use it before `bias.MomentMatching`, or alone: `winnow effects` says what a decision did to the shares of
    attributes, and to how often labels go with them. Samples with an unknown attribute or label do not count.

    Table: `pattern` String, a digit for each attribute and then each label, 1 for yes, and `count` UInt64.

    Cost: very cheap: 2,300,000 rows of three columns per second on a CPU core (measured).
    """

    def partial(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Counts of one batch."""
        patterns = patterns_of(batch, self._names()).drop_nulls()
        return patterns.group_by("pattern").agg(count=pl.len().cast(pl.UInt64))

    def merge(self, parts: pl.DataFrame) -> pl.DataFrame:
        """Counts add up."""
        return parts.group_by("pattern").agg(pl.col("count").sum())

    def finish(self, merged: pl.DataFrame) -> pl.DataFrame:
        """By pattern."""
        return merged.sort("pattern")

    def compare(
        self, before: pl.DataFrame, after: pl.DataFrame, sources: Mapping[str, Operator]
    ) -> Mapping[str, pl.DataFrame]:
        """What a decision did to the bias: see `attribute_patterns.compared`."""
        return compared(before, after, _listed(self.attributes), _listed(self.labels))


class MomentMatching(_Attributed, Score):
    """How often to take a sample so that attributes have the shares that are wished for, and no label goes
    with an attribute.

    Use it with a `chance` rule on `weight`, or, if `most` is over 1, by exporting with `repeats`. If the rate
    is more than these bounds allow, the run stops and says the largest rate that they allow: take that, allow
    more repeats by `most`, wider bounds, or set a `price`.

    patterns        the table of a Patterns of the same columns
    targets         the share of samples that each attribute is to have; one number holds for all
    rate            how often a sample is taken on average: with `most` 1 the share of the pool that stays
    most            how often a sample is taken at most
    representation  how far an attribute's mean of weights times (attribute - target) may be from 0
    association     the same times a label
    price           0: the bounds hold. Above 0: they may be passed, at this price per unit, the paper's V: 10
                    comes as near as possible, 0.05 evens out only a part
    seed            of the draw that rounds `repeats`

    Cost: very cheap: 1,700,000 rows of three columns per second on a CPU core (measured). Each worker
    first finds the weights: at once for tens of patterns, in seconds for thousands.
    """

    patterns: Table
    targets: tuple[Share, ...] = (0.5,)
    rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.9
    most: Annotated[float, Field(gt=0, lt=2**31)] = 1.0
    representation: Bound = 0.01
    association: Bound = 0.01
    price: Bound = 0.0
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0

    needs = ("uid",)
    writes: ClassVar[Mapping[str, Any]] = {"weight": pl.Float64, "repeats": pl.UInt32}
    _weights: Any = PrivateAttr(None)

    @model_validator(mode="after")
    def _a_target_each(self) -> Self:
        """Refuse targets for other attributes than there are, and a rate that nothing could have."""
        if len(self.targets) not in (1, len(_listed(self.attributes))):
            raise ValueError(
                f"must have one of `targets`, or one for each of {len(_listed(self.attributes))} attributes, "
                f"got {len(self.targets)}"
            )
        if self.rate > self.most:
            raise ValueError(f"must have a rate of at most `most` {self.most:g}, got {self.rate:g}")
        return self

    def misfits(self, sources: Mapping[str, Operator]) -> Iterator[tuple[str, str]]:
        """See Operator: patterns of other columns."""
        stat = sources.get(owner(self.patterns) or "")
        if not isinstance(stat, Patterns):
            yield "patterns", f"{self.patterns} must be a bias.Patterns"
        elif (stat._names(), _listed(stat.attributes)) != (self._names(), _listed(self.attributes)):
            yield "patterns", f"{self.patterns} has other attributes or labels; give both operators the same"

    def setup(self, stats: Mapping[str, pl.DataFrame], device: Device) -> None:
        """Find the weights. Raises ValueError if the rate is more than the bounds allow."""
        table = stats[self.patterns]
        count = len(_listed(self.attributes)) * (1 + len(_listed(self.labels)))
        if len(table) * count > MOST_CELLS:
            raise ValueError(
                f"patterns: {self.patterns} has {len(table):,} patterns, must have at most "
                f"{MOST_CELLS // count:,} of so many attributes and labels: take fewer of them"
            )
        self._weights = table.select("pattern", weight=pl.Series(self._solved(table), dtype=pl.Float64))

    def _solved(self, table: pl.DataFrame) -> np.ndarray:
        """(p,) the weight of each pattern."""
        if table.is_empty():
            return np.zeros(0)
        m = len(_listed(self.attributes))
        yes = zeros_and_ones(table, len(self._names()))
        shares = table["count"].to_numpy() / table["count"].sum()
        targets = np.array(self.targets * (m if len(self.targets) == 1 else 1))
        b = moments(yes[:, :m], yes[:, m:], targets)
        bounds = np.repeat([self.representation, self.association], [m, b.shape[1] - m])
        if self.price:
            return weights(shares, b, bounds, self.rate, self.most, self.price)
        if self.rate > (possible := largest_rate(shares, b, bounds, self.most)):
            raise ValueError(
                f"rate: at a rate of {self.rate:g} no weights keep these bounds; the largest possible rate is "
                f"{possible:.6g}: take that or less, a larger `most`, wider bounds, or a `price`"
            )
        return weights(shares, b, bounds, self.rate, self.most)

    def score(self, batch: pl.DataFrame) -> pl.DataFrame:
        """(n,) attributes and labels -> (n,) weights and repeats. A pattern that the Stat has not seen is
        null."""
        found = patterns_of(batch, self._names()).join(
            self._weights, on="pattern", how="left", maintain_order="left"
        )
        repeats = (found["weight"] + pl.Series(draw(self.seed, batch["uid"]))).floor()
        return pl.select(weight=found["weight"], repeats=repeats.cast(pl.UInt32))

    def evidence(
        self, row: pl.DataFrame, stats: Mapping[str, pl.DataFrame], sources: Mapping[str, Operator]
    ) -> pl.DataFrame:
        """`column`, `yes`, and how many samples have the same pattern."""
        pattern = patterns_of(row, self._names())["pattern"][0]
        if pattern is None:
            return pl.DataFrame()
        same = stats[self.patterns].filter(pl.col("pattern") == pattern)["count"].sum()
        return pl.DataFrame(
            {"column": self._names(), "yes": [digit == "1" for digit in pattern], "samples alike": same}
        )
