"""A report: everything that a page says about a decision, as plain data.

    report = build(session)
    report.rules[0].slider.kept       # what every stop of the first rule would keep

The pool is read three times, whatever its size: for how far the values reach, for the values at the stops of
shares, and to count. Nothing depends on the clock or the machine, so equal runs give equal reports.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.decide.books import Books, books
from pipeline.decide.decide import decide
from pipeline.decide.decision import Decision
from pipeline.plan.session import Session
from pipeline.view.numbers.corpus import ROWS as TEXTS
from pipeline.view.numbers.corpus import CorpusPanel, Facts, corpus
from pipeline.view.numbers.extents import Extents, Ranks
from pipeline.view.numbers.gather import gather
from pipeline.view.numbers.histograms import Histogram, Histograms, edges_of, frequent_texts
from pipeline.view.numbers.overlap import Combination, Overlap
from pipeline.view.numbers.page_sample import PageSample, page_sample
from pipeline.view.numbers.record import Record, record
from pipeline.view.numbers.sample import SeededSample
from pipeline.view.numbers.sliders import Slider, Sliders
from pipeline.view.numbers.stops import Stops, stops_of, wanted_ranks
from pipeline.view.numbers.values import numbers

SAMPLE = 1 << 17  # rows from which stops and bins are chosen


@dataclass(frozen=True)
class Options:
    """What a report shows. `seed`: of every choice of samples."""

    seed: int = 0


@dataclass(frozen=True)
class RulePanel:
    """One rule: its counts, as RuleCount has them, its column's distribution, and its slider. `kind`: the
    name of its bound. `histogram`: None without a value; `slider`: None for `among` and `chance`."""

    name: str
    column: str
    bound: str
    kind: str
    missing: str
    cut: float | None
    passes: int
    fails: int
    fails_only: int
    dropped: int
    failed: Mapping[str, int]
    histogram: Histogram | None
    slider: Slider | None


@dataclass(frozen=True)
class Report:
    """A decision, in numbers. See the classes of the fields."""

    title: str
    recipe: str
    books: Books
    rules: Sequence[RulePanel]
    sample: PageSample
    overlap: Sequence[Combination]
    corpus: Sequence[CorpusPanel]
    record: Record


def build(session: Session, options: Options = Options(), pending: Mapping[str, str] = {}) -> Report:
    """The report of a session whose columns are all stored; it is decided first, unless that is done.
    `pending`: the shards that could not be read, with reasons. Raises FileNotFoundError if a column that a
    rule reads is not stored."""
    decision = decide(session)
    rules = session.recipe.keep
    extents = Extents(rules)
    overlap = Overlap(rules)
    sample = SeededSample([rule.column for rule in rules.values()], SAMPLE)
    facts = Facts.of(session)
    texts = SeededSample(facts.columns, TEXTS, facts.kept_as)
    gather(session, [extents, overlap, sample, texts], options.seed)
    values = {name: _finite(sample, rule.column) for name, rule in extents.rules.items()}
    stops = _stops(session, decision, extents, values)
    sliders = Sliders(rules, stops)
    histograms = _histograms(session, extents, sample)
    gather(session, [sliders, histograms])
    return Report(
        title=f"{session.recipe.name}: {decision.kept:,} of {decision.samples:,} samples kept",
        recipe=session.recipe.name,
        books=books(session, decision, pending),
        rules=[_panel(session, decision, name, sliders, histograms) for name in rules],
        sample=page_sample(sample.rows(), decision.samples, rules, stops),
        overlap=overlap.combinations(),
        corpus=corpus(session, texts.rows(), decision.samples),
        record=record(session, decision),
    )


def _stops(
    session: Session, decision: Decision, extents: Extents, values: Mapping[str, np.ndarray]
) -> dict[str, Stops]:
    """Rule -> the stops of its slider; reads the pool if a share must become a value."""
    ranks = Ranks(extents.rules, extents.of, wanted_ranks(extents.rules, extents.of))
    if ranks.rules:
        gather(session, [ranks])
    ranked = ranks.found()
    return {
        name: stops_of(
            name, rule, extents.of[name], decision.rules[name].cut, ranked.get(name, []), values[name]
        )
        for name, rule in extents.rules.items()
    }


def _histograms(session: Session, extents: Extents, sample: SeededSample) -> Histograms:
    """The histograms of all rules, with bins that follow from the sample."""
    edges = {}
    texts = {}
    for name, rule in session.recipe.keep.items():
        if rule.bound == "among":
            texts[name] = frequent_texts(sample.rows()[rule.column])
        else:
            edges[name] = edges_of(_finite(sample, rule.column), extents.of.get(name))
    return Histograms(session.recipe.keep, edges, texts)


def _finite(sample: SeededSample, column: str) -> np.ndarray:
    """The finite values of a column in the sample."""
    rows = sample.rows()
    values = numbers(rows[column]) if len(rows) else np.zeros(0)
    return values[np.isfinite(values)]


def _panel(
    session: Session, decision: Decision, name: str, sliders: Sliders, histograms: Histograms
) -> RulePanel:
    """The panel of one rule."""
    rule, counts = session.recipe.keep[name], decision.rules[name]
    return RulePanel(
        name=name,
        column=rule.column,
        bound=counts.bound,
        kind=rule.bound,
        missing=rule.missing,
        cut=counts.cut,
        passes=counts.passes,
        fails=counts.fails,
        fails_only=counts.fails_only,
        dropped=counts.dropped,
        failed=counts.failed,
        histogram=histograms.of(name),
        slider=sliders.of(name) if name in sliders.levels else None,
    )
