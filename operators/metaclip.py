"""MetaCLIP: captions matched with a list of entries, and the probability that evens out their counts.

    entries: {use: metaclip.EntryMatch, metadata: metadata.json}
    counts:  {use: metaclip.EntryCount, entries: entries.ids}
    balance: {use: metaclip.BalanceProbability, entries: entries.ids, counts: counts, t: 20000}
    keep:
      balance.probability: {chance: true, seed: 0}

If the size of the result is given and not t, use the t from which on each sample's draw keeps it:

    entries: {use: metaclip.EntryMatch, metadata: metadata.json}
    counts:  {use: metaclip.EntryCount, entries: entries.ids}
    balance: {use: metaclip.BalanceThreshold, entries: entries.ids, counts: counts, seed: 0}
    keep:
      balance.t: {bottom: 0.3}            # or {bottom: 400000000 samples}, or {max: 20000}

Columns
    EntryMatch          ids          List(UInt32)  ids of the entries that occur in the caption, ascending,
                                                   each once; empty if none does; null without a caption
                        language     String        the list that was searched; null if there is but one
    BalanceProbability  probability  Float64       in [0, 1], higher is rarer; 0 if no entry occurs; null
                                                   without `ids`
    BalanceThreshold    t            Float64       > 0, lower is rarer; null if no entry occurs
Errors: `no caption`; of BalanceThreshold also `no entry matches`.
Source: MetaCLIP (arXiv 2309.16671) algorithm 1; MetaCLIP 2 (arXiv 2507.22062) for languages and their t.
Differs: the released code draws once per (text, entry) without a seed; here one draw per uid is compared
    with the probability that any of those would keep the text, which has the same law. MetaCLIP 2 picks one
    of an image's texts; a sample here has one. If a language's rarest entries hold far more than the tail
    share, its t is the smallest count; in the released code it is 0, which drops the language.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import polars as pl
from pydantic import Field, PrivateAttr, SerializerFunctionWrapHandler, model_serializer, model_validator

from operators.algorithms.balance import COUNTS, Balance, critical_t, keep_probability
from operators.algorithms.balance import compare as compare_counts
from operators.algorithms.captions import ReadsCaptions
from operators.algorithms.matching import Matchers, Spacing, lists, read_entries
from operators.algorithms.reasons import no_caption
from operators.algorithms.tables import table_of
from pipeline.operator import YOUNG, Column, Device, Files, Operator, Score, Stat, Table
from pipeline.schema import owner
from pipeline.uids import draw

OTHER = "other"  # the list of languages that have none of their own
SHOWN = 30  # entries that `winnow explain` names
MANY = 0.2  # share of captions without an entry from which on a list may not fit
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@lru_cache(maxsize=4)
def _read_once(path: str) -> Sequence[str]:
    """A list of entries, which is held: `winnow explain` asks for it sample by sample."""
    return read_entries(path)


class EntryMatch(ReadsCaptions, Score):
    """Which entries of a list of things and names occur in a caption.

    Use it as the first of MetaCLIP's three steps.

    metadata   a list, as JSON strings or one entry per line, or one list per language:
               {en: ..., ja: ..., other: ...}; by default the WordNet names that come with the package
    spacing    `english` as in MetaCLIP, `worldwide` as in MetaCLIP 2
    fold       `none`: upper and lower case differ, as published, so that of a list in lower case `Red Dog`
               has no entry; `case`: they are the same. `winnow plan` and the funnel say when this matters
    languages  the column that chooses among several lists, such as caption.language

    Cost: cheap. 54,400 captions per second on a CPU core with 500,000 entries (measured).
    """

    metadata: Files = ""
    spacing: Spacing = "english"
    languages: Column = ""
    fold: Annotated[Literal["none", "case"], YOUNG] = "none"

    writes: ClassVar[Mapping[str, Any]] = {"ids": pl.List(pl.UInt32), "language": pl.String}
    _matcher: Any = PrivateAttr(None)

    @model_validator(mode="after")
    def _languages_choose(self) -> "EntryMatch":
        """Require `languages` exactly if there is a list per language."""
        if isinstance(self.metadata, dict) != bool(self.languages):
            raise ValueError("must have `languages` if `metadata` has a list per language, and only then")
        return self

    @model_serializer(mode="wrap")
    def _with_marks(self, fields: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """The fields for the cache key. `marks` stands for the marks that `worldwide` has now; a higher
        version would also change the keys of `english`, whose results are as before."""
        found: dict[str, Any] = fields(self)
        return {**found, "marks": 25} if self.spacing == "worldwide" else found

    def names(self) -> dict[str | None, list[str]]:
        """The entries by language (None: the only list)."""
        lists = self.metadata if isinstance(self.metadata, dict) else {None: self.metadata}
        return {language: read_entries(path) for language, path in lists.items()}

    def names_of(self, ids: pl.Series, language: str | None) -> pl.Series:
        """The entries with these ids; the ids, if their list can no longer be read."""
        path = self.metadata.get(language or "") if isinstance(self.metadata, dict) else self.metadata
        with suppress(OSError, ValueError, IndexError):
            names = [] if path is None else _read_once(path)
            return pl.Series([names[number] for number in ids], dtype=pl.String)
        return ids

    def setup(self, stats: Mapping[str, pl.DataFrame], device: Device) -> None:
        """Build the lists' automata, or load those of another worker."""
        self._matcher = Matchers(self.names(), self.spacing, self.fold == "case")

    def score(self, batch: pl.DataFrame) -> pl.DataFrame:
        """(n,) captions -> (n,) lists of ids."""
        language = self._language(batch)
        ids, counts = self._matcher(batch[self.text], language if self.languages else None)
        present = batch[self.text].is_not_null()
        return pl.DataFrame(
            {
                "ids": lists(ids, counts, present),
                "language": language,
                "error": batch.select(no_caption(self.text)).to_series(),
            }
        )

    def doubts(self, rows: pl.DataFrame) -> Sequence[str]:
        """See Operator: many captions match no entry; how many would not if case did not count."""
        rows, lists = rows.drop_nulls(self.text), dict(self.fields_of("file"))
        if rows.is_empty() or any("://" in str(path) for path in lists.values()):
            return ()
        texts, language = rows[self.text], self._language(rows) if self.languages else None
        names = self.names()
        if (none := Matchers(names, self.spacing, self.fold == "case").unmatched(texts, language)) <= MANY:
            return ()
        said = f"{none:.0%} of {len(rows):,} captions match no entry of the list"
        if self.fold == "case":
            return (f"{said}, whatever their case: is it a list for this pool?",)
        folded = Matchers(names, self.spacing, folded=True).unmatched(texts, language)
        return (f"{said}, whose case counts, as published; with `fold: case` {folded:.0%} would not",)

    def _language(self, batch: pl.DataFrame) -> pl.Series:
        """(n,) which list each caption is searched for."""
        if not self.languages:
            return pl.repeat(None, len(batch), dtype=pl.String, eager=True)
        fallback = pl.lit(OTHER if OTHER in self.metadata else None, pl.String)
        has_list = pl.col(self.languages).is_in(list(self.metadata))
        chosen = pl.when(has_list).then(pl.col(self.languages)).otherwise(fallback)
        return batch.select(pl.when(pl.col(self.text).is_not_null()).then(chosen)).to_series()


class EntryCount(Stat):
    """How many captions each entry occurs in.

    Use it between `metaclip.EntryMatch` and the two balancing scores. `winnow effects` shows what a decision
    did to these counts.

    entries    the ids of an EntryMatch, such as entries.ids
    languages  the column of an EntryMatch with several lists that says which was searched, such as
               entries.language

    Table: `language`, `entry` (UInt32), `count` (UInt64), `texts` (UInt64). In each language one row has no
    entry: its `count` is the captions that no entry matches, its `texts` all captions.

    Cost: cheap. 339,000 rows per second on a CPU core (measured).
    """

    entries: Column
    languages: Column = ""

    def partial(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Counts of one batch."""
        language = pl.col(self.languages) if self.languages else pl.lit(None, pl.String)
        matched = batch.select(language=language, entry=pl.col(self.entries)).drop_nulls("entry")
        pairs = matched.explode("entry").drop_nulls("entry").group_by("language", "entry").len("count")
        none = (pl.col("entry").list.len() == 0).sum()
        texts = matched.group_by("language").agg(count=none, texts=pl.len())
        return pl.concat([pairs, texts], how="diagonal").select(
            pl.col("language"),
            pl.col("entry").cast(pl.UInt32),
            pl.col("count", "texts").cast(pl.UInt64).fill_null(0),
        )

    def merge(self, parts: pl.DataFrame) -> pl.DataFrame:
        """Sums by language and entry."""
        return parts.group_by("language", "entry").agg(pl.col("count", "texts").sum())

    def finish(self, merged: pl.DataFrame) -> pl.DataFrame:
        """By language and entry."""
        return merged.sort("language", "entry", nulls_last=False)

    def compare(
        self, before: pl.DataFrame, after: pl.DataFrame, sources: Mapping[str, Operator]
    ) -> Mapping[str, pl.DataFrame]:
        """The effect of a decision on the distribution of entries: see `balance.compare`."""
        match = sources[owner(self.entries) or ""]
        return compare_counts(before, after, match.names() if isinstance(match, EntryMatch) else {})


class _Balanced(Operator):
    """Base of the two balancing scores.

    entries    the ids of an EntryMatch, such as entries.ids
    counts     the table of an EntryCount of the same column
    languages  as in the EntryCount
    """

    entries: Column
    counts: Table
    languages: Column = ""

    _balance: Any = PrivateAttr(None)

    def _rows(self, batch: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """The entries of all rows as places in the table of counts, and how many each row has."""
        ids = batch[self.entries].fill_null([])
        languages: Sequence[str | None] | None = batch[self.languages].to_list() if self.languages else None
        counts = ids.list.len().to_numpy().astype(np.int64)
        return self._balance.places(ids.explode().drop_nulls().to_numpy(), counts, languages), counts

    def evidence(
        self, row: pl.DataFrame, stats: Mapping[str, pl.DataFrame], sources: Mapping[str, Operator]
    ) -> pl.DataFrame:
        """`entry`, `count`: the entries in the caption, and how many captions each is in, rarest first."""
        ids = row.select(entry=pl.col(self.entries).explode()).drop_nulls()
        language = row[self.languages][0] if self.languages else None
        counts = stats[self.counts].filter(pl.col("language").eq_missing(language)).select("entry", "count")
        found = ids.join(counts, on="entry", how="left").sort("count", "entry").head(SHOWN)
        match = sources.get(owner(self.entries) or "")
        names = match.names_of(found["entry"], language) if isinstance(match, EntryMatch) else found["entry"]
        return found.with_columns(entry=names)


class BalanceProbability(_Balanced, Score):
    """The probability with which MetaCLIP's balancing keeps a sample: 1 - prod(1 - t / max(count, t)) over
    its entries.

    Use it to flatten the distribution of concepts as MetaCLIP does: samples of frequent entries are thinned,
    samples of rare ones all stay. Decide with a `chance` rule.

    t        each entry keeps about this many of its samples
    tail_of  a language: t is its, and every other one gets the t that leaves the same share of its matches in
             the tail (MetaCLIP 2); needs `languages`

    Cost: cheap. 89,700 rows per second on a CPU core (measured).
    """

    t: Positive
    tail_of: str = ""

    writes: ClassVar[Mapping[str, Any]] = {"probability": pl.Float64}

    @model_validator(mode="after")
    def _tail_needs_languages(self) -> "BalanceProbability":
        """Refuse `tail_of` without `languages`."""
        if self.tail_of and not self.languages:
            raise ValueError(f"must have `languages` if `tail_of` is given, got tail_of: {self.tail_of}")
        return self

    def setup(self, stats: Mapping[str, pl.DataFrame], device: Device) -> None:
        """Each entry's probability."""
        self._balance = Balance(table_of(stats, "counts", self.counts, COUNTS), self.t, self.tail_of)

    def score(self, batch: pl.DataFrame) -> pl.DataFrame:
        """(n,) lists of ids -> (n,) probabilities."""
        places, counts = self._rows(batch)
        found = pl.Series(keep_probability(self._balance.probability[places], counts))
        known = batch[self.entries].is_not_null()
        return pl.select(probability=pl.when(known).then(found))


class BalanceThreshold(_Balanced, Score):
    """The smallest t at which balancing keeps a sample, given its draw from (seed, uid).

    Use it instead of BalanceProbability if you know how many samples to keep: a `bottom` rule on it finds t.
    A rule `max: 20000` on it decides as `chance` does on the probability at t = 20000 and the same seed.

    seed  of the draw

    Cost: cheap; a few steps of Newton's method per row.
    """

    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0

    needs = ("uid",)
    writes: ClassVar[Mapping[str, Any]] = {"t": pl.Float64}

    def setup(self, stats: Mapping[str, pl.DataFrame], device: Device) -> None:
        """Each entry's count."""
        self._balance = Balance(table_of(stats, "counts", self.counts, COUNTS))

    def score(self, batch: pl.DataFrame) -> pl.DataFrame:
        """(n,) lists of ids -> (n,) thresholds."""
        places, counts = self._rows(batch)
        thresholds = pl.Series(critical_t(self._balance.count[places], counts, draw(self.seed, batch["uid"])))
        none = batch[self.entries].list.len() == 0
        return pl.select(t=thresholds.fill_nan(None), error=pl.when(none).then(pl.lit("no entry matches")))
