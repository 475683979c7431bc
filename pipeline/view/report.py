"""A report: everything that a page says about a decision, as plain data.

    cost = Cost()
    report = build(session, Options(seed=1), cost=cost)
    report.rules[0].slider.kept       # what every stop of the first rule would keep

The pool is read three times, whatever its size: for how far the values reach and which samples to show; for
the values at the stops of shares; and to count. Then the pictures are fetched. Nothing depends on the clock
or the machine, so equal runs give equal reports.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.decide.books import Books, books
from pipeline.decide.decide import decide
from pipeline.decide.decision import Decision
from pipeline.plan.session import Session
from pipeline.rule import Rule
from pipeline.view.album import Album, Pictures, Placeholders
from pipeline.view.cards import Cost
from pipeline.view.numbers.choices import Choices, each_of
from pipeline.view.numbers.corpus import ROWS as TEXTS
from pipeline.view.numbers.corpus import CorpusPanel, Facts, corpus
from pipeline.view.numbers.extents import Extents, Ranks
from pipeline.view.numbers.gather import Gatherer, gather
from pipeline.view.numbers.histograms import Histogram, Histograms, edges_of, frequent_texts
from pipeline.view.numbers.overlap import Combination, Overlap
from pipeline.view.numbers.page_sample import PageSample, page_sample
from pipeline.view.numbers.placeholders import CAPTIONS, MOST, PICTURES, SHOWN, Crowds, Members
from pipeline.view.numbers.record import Record, record
from pipeline.view.numbers.sample import SeededSample
from pipeline.view.numbers.sliders import Slider, Sliders
from pipeline.view.numbers.stops import Stops, stops_of, wanted_ranks
from pipeline.view.numbers.values import numbers, slides

SAMPLE = 1 << 17  # rows from which stops and bins are chosen


@dataclass(frozen=True)
class Options:
    """What a report shows. `seed`: of every choice of samples; `pictures`: about how many samples are shown
    with their pictures; `side`: most pixels of a picture's longer side."""

    seed: int = 0
    pictures: int = 500
    side: int = 224


@dataclass(frozen=True)
class RulePanel:
    """One rule: its counts, as RuleCount has them, its column's distribution, and its slider. `kind`: the
    name of its bound. `histogram`: None without a value; `slider`: None for `among` and `chance`."""

    name: str
    column: str
    bound: str
    kind: str
    missing: str
    of_remaining: bool
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
    """A decision, in numbers and pictures. See the classes of the fields."""

    title: str
    recipe: str
    books: Books
    rules: Sequence[RulePanel]
    sample: PageSample
    overlap: Sequence[Combination]
    corpus: Sequence[CorpusPanel]
    pictures: Pictures
    placeholders: Placeholders
    record: Record


def build(
    session: Session,
    options: Options = Options(),
    pending: Mapping[str, str] = {},
    cost: Cost | None = None,
) -> Report:
    """The report of a session whose columns are all stored; it is decided first, unless that is done.
    `pending`: the shards that could not be read, with reasons; `cost`: what pictures cost is added to it.
    Raises FileNotFoundError if a column that a rule reads is not stored."""
    survey = _Survey(session, options)
    decision, rules = survey.decision, session.recipe.keep
    stops = _stops(session, survey)
    sliders = Sliders(rules, stops)
    histograms = _histograms(rules, survey)
    members = Members(session.kind.has_images, survey.crowds.fullest())
    gather(session, [sliders, histograms, members], options.seed)
    pictures, placeholders = _album(session, options, survey, members, cost or Cost())
    return Report(
        title=f"{session.recipe.name}: {decision.kept:,} of {decision.samples:,} samples kept",
        recipe=session.recipe.name,
        books=books(session, decision, pending),
        rules=[_panel(rules[name], decision, name, sliders, histograms) for name in rules],
        sample=page_sample(survey.sample.rows(), decision.samples, rules, stops),
        overlap=survey.overlap.combinations(),
        corpus=corpus(session, survey.texts.rows(), decision.samples),
        pictures=pictures,
        placeholders=placeholders,
        record=record(session, decision),
    )


class _Survey:
    """What the first reading of the pool tells."""

    def __init__(self, session: Session, options: Options) -> None:
        rules = session.recipe.keep
        facts = Facts.of(session)
        each = each_of(list(rules.values()), options.pictures - MOST * SHOWN)
        self.decision = decide(session)
        self.extents = Extents(rules)
        self.overlap = Overlap(rules)
        self.sample = SeededSample([rule.column for rule in rules.values()], SAMPLE)
        self.texts = SeededSample(facts.columns, TEXTS, facts.kept_as)
        self.choices = Choices(
            rules, {name: _bound(rules[name], self.decision, name) for name in rules}, each
        )
        self.crowds = Crowds(session.kind.has_images)
        questions: list[Gatherer] = [
            self.extents,
            self.overlap,
            self.sample,
            self.texts,
            self.choices,
            self.crowds,
        ]
        gather(session, questions, options.seed)

    def finite(self, column: str) -> np.ndarray:
        """The finite values of a column in the sample."""
        rows = self.sample.rows()
        values = numbers(rows[column]) if len(rows) else np.zeros(0)
        return values[np.isfinite(values)]


def _bound(rule: Rule, decision: Decision, name: str) -> float | None:
    """What values are compared with; None if the rule has no slider, or a share came to nothing."""
    if not slides(rule):
        return None
    return decision.rules[name].cut if rule.needs_cut else getattr(rule, rule.bound)


def _stops(session: Session, survey: _Survey) -> dict[str, Stops]:
    """Rule -> the stops of its slider; reads the pool if a share must become a value."""
    rules, extents = survey.extents.rules, survey.extents.of
    ranks = Ranks(session.recipe.keep, extents, wanted_ranks(rules, extents))
    if ranks.rules:
        gather(session, [ranks])
    ranked = ranks.found()
    stops = {}
    for name, rule in rules.items():
        cut, values = survey.decision.rules[name].cut, survey.finite(rule.column)
        stops[name] = stops_of(name, rule, extents[name], cut, ranked.get(name, []), values)
    return stops


def _histograms(rules: Mapping[str, Rule], survey: _Survey) -> Histograms:
    """The histograms of all rules, with bins that follow from the sample."""
    edges = {}
    texts = {}
    for name, rule in rules.items():
        if rule.bound == "among":
            texts[name] = frequent_texts(survey.sample.rows()[rule.column], set(rule.among or ()))
        else:
            edges[name] = edges_of(survey.finite(rule.column), survey.extents.of.get(name))
    return Histograms(rules, edges, texts)


def _album(
    session: Session, options: Options, survey: _Survey, members: Members, cost: Cost
) -> tuple[Pictures, Placeholders]:
    """The samples that are shown, as cards."""
    chosen = survey.choices.chosen()
    same = {kind: members.found(kind)[:MOST] for kind in (PICTURES, CAPTIONS)}
    album = Album(session, options.side, cost)
    alike = [place for equals in same.values() for one in equals for place in one.places]
    album.add([place for one in chosen for place in one.places] + alike)
    album.add_neighbours(chosen)
    return album.pictures(chosen), album.placeholders(same[PICTURES], same[CAPTIONS])


def _panel(rule: Rule, decision: Decision, name: str, sliders: Sliders, histograms: Histograms) -> RulePanel:
    """The panel of one rule."""
    counts = decision.rules[name]
    return RulePanel(
        name=name,
        column=rule.column,
        bound=counts.bound,
        kind=rule.bound,
        missing=rule.missing,
        of_remaining=rule.of_remaining,
        cut=counts.cut,
        passes=counts.passes,
        fails=counts.fails,
        fails_only=counts.fails_only,
        dropped=counts.dropped,
        failed=counts.failed,
        histogram=histograms.of(name),
        slider=sliders.of(name) if name in sliders.levels else None,
    )
