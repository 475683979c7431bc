"""Why a sample was kept or dropped: every rule with its value, its bound and its verdict, and the evidence
that operators show for their values, such as nearest neighbours.

    (explanation,) = explain(session, ["7d1e141fee937058d0f5f11e1fa44f04"])
    found = look_up(session, ["7d1e141f", "00000/000012", "no such"])
    found.explanations, found.unknown
    explain_rows(session, [("00000", 17)])
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import polars as pl

from pipeline.decide.decide import decide
from pipeline.decide.decision import Decision
from pipeline.decide.evidence import Shows
from pipeline.decide.lookup import Place, find
from pipeline.decide.members import GroupOf, members
from pipeline.errors import OperatorError, RecipeError, brief
from pipeline.plan.session import Session
from pipeline.rule import Rule
from pipeline.schema import CAPTIONS_COLUMN, owner
from pipeline.uids import draw

NO_VALUE = "no value"  # the verdict of a rule that needs a value and has none
SHOWN = ("uid", "shard", "row", "key", "text", "url", "width", "height")  # fields of an Explanation


@dataclass(frozen=True)
class RuleVerdict:
    """One rule's verdict on one sample.

    value    of the column that the rule reads, None if the sample has none
    bound    the rule in words, with its cut
    verdict  `passes`, `fails`, `no value` (the sample goes) or `no value, passes` (`missing: keep`)
    why      the operator's reason for giving no value, if it gave one
    draw     of a chance rule: the sample's number in [0, 1), which must be smaller than the value
    """

    rule: str
    column: str
    value: object
    bound: str
    verdict: str
    why: str | None
    draw: float | None = None


@dataclass(frozen=True)
class Explanation:
    """A sample, what became of it, and why.

    text      the caption that exports write: of the column `export.caption`, else the sample's `text`
    evidence  operator -> the rows of its table, column by name
    lacks     what was missing or wrong as the sample was read; None if nothing was
    groups    Group -> the rows of the pool that share the sample's key; `explain` looks for them, a page does
              not
    captions  the sample's other captions, in order
    """

    uid: str
    shard: str
    row: int
    key: str
    text: str | None
    url: str | None
    width: int | None
    height: int | None
    keep: bool
    rules: Sequence[RuleVerdict]
    evidence: Mapping[str, Sequence[Mapping[str, object]]]
    lacks: str | None = None
    groups: Mapping[str, GroupOf] = field(default_factory=dict)
    captions: Sequence[str] = ()

    @property
    def fate(self) -> str:
        """`kept`, `dropped` or `failed`, as the funnel counts the sample: it failed if a rule that needs a
        value has none."""
        if self.keep:
            return "kept"
        return "failed" if any(rule.verdict == NO_VALUE for rule in self.rules) else "dropped"

    @property
    def further_evidence(self) -> dict[str, Sequence[Mapping[str, object]]]:
        """`evidence` without that of a Group of which `groups` says the same: whose values are all in the
        sample's own row there."""
        own = {
            name: list(member.values())
            for name, group in self.groups.items()
            if group.rows > 1
            for member in group.members
            if member["uid"] == self.uid
        }
        return {
            name: entries
            for name, entries in self.evidence.items()
            if not all(value in own.get(name, ()) for entry in entries for value in entry.values())
        }


@dataclass(frozen=True)
class Found:
    """The samples that some words name, and for each word that names none, or several, what is wrong with
    it."""

    explanations: Sequence[Explanation]
    unknown: Sequence[str]


def explain(session: Session, uids: Sequence[str]) -> list[Explanation]:
    """The samples with these uids, in the order of the uids; several samples may share one. The decision must
    be stored. Raises RecipeError if the pool lacks one of them."""
    found = find(session, uids)
    if found.unknown:
        raise RecipeError("\n".join(found.unknown))
    return explain_rows(session, found.places)


def look_up(session: Session, words: Sequence[str]) -> Found:
    """The samples that uids, beginnings of uids, or keys name, in the order of the words; see lookup.py."""
    found = find(session, words)
    return Found(explain_rows(session, found.places), found.unknown)


def explain_rows(session: Session, places: Sequence[Place]) -> list[Explanation]:
    """The samples at these places, (shard, row), in this order. The decision must be stored. Each column of a
    shard is read once."""
    decision, shows = decide(session), Shows(session)
    by_shard: dict[str, list[int]] = {}
    for shard, row in dict.fromkeys(places):
        by_shard.setdefault(shard, []).append(row)
    found = dict[Place, Explanation]()
    for shard, rows in by_shard.items():
        explained = shard_explanations(session, decision, shows, shard, rows)
        found |= {(shard, row): explanation for row, explanation in zip(rows, explained, strict=True)}
    groups = members(session, list(found))
    return [replace(found[place], groups=groups[place]) for place in places]


def shard_explanations(
    session: Session, decision: Decision, shows: Shows | None, shard: str, rows: Sequence[int]
) -> list[Explanation]:
    """The explanations of some rows of a shard. `shows`: of the same session; without it there is no
    evidence."""
    read = session.columns.rows_at(shard, rows, _columns(session))  # all at once: a shard may be large
    caption = session.recipe.export.caption_column
    samples = read.select(SHOWN).with_columns(text=read[caption])
    verdicts = session.store.verdicts(session.decisions, shard)[list(rows)]
    lacks = _lacks(session, shard, rows)
    by_rule = [
        _verdicts(name, rule, decision.rules[name].bound, verdicts[name], read)
        for name, rule in session.recipe.keep.items()
    ]
    evidence = {} if shows is None else _evidence(shows, shard, rows)
    captions = _other_captions(read, caption)
    return [
        Explanation(
            **sample,
            keep=verdicts["keep"][at],
            rules=[rule[at] for rule in by_rule],
            evidence={name: tables[at] for name, tables in evidence.items() if tables[at]},
            lacks=lacks[at],
            captions=captions[at],
        )
        for at, sample in enumerate(samples.iter_rows(named=True))
    ]


def _other_captions(samples: pl.DataFrame, caption: str) -> list[tuple[str, ...]]:
    """All captions that each sample has, without the one in the column `caption`."""
    several = samples["captions"].to_list() if "captions" in samples.columns else [None] * len(samples)
    return [
        tuple(other for other in dict.fromkeys((text, *(all_of or ()))) if other not in (None, chosen))
        for chosen, text, all_of in zip(samples[caption], samples["text"], several, strict=True)
    ]


def _lacks(session: Session, shard: str, rows: Sequence[int]) -> list[str | None]:
    """The samples' own errors. A pool that is its own table has none."""
    if not session.sample_folders:
        return [None] * len(rows)
    return session.columns.samples.rows_at(shard, rows, ["error"])["error"].to_list()


def _columns(session: Session) -> list[str]:
    """What an explanation reads of a sample: its fields, the values that rules judge, and the reasons of
    those that are missing."""
    judged = [rule.column for rule in session.recipe.keep.values()]
    errors = [f"{operator}.error" for column in judged if (operator := owner(column)) is not None]
    captions = [name for name in CAPTIONS_COLUMN if name in session.kind.ready]
    caption = session.recipe.export.caption_column
    return list(dict.fromkeys([*SHOWN, caption, *captions, *judged, *errors]))


def _verdicts(
    name: str, rule: Rule, bound: str, verdicts: pl.Series, values: pl.DataFrame
) -> list[RuleVerdict]:
    """A rule's verdicts on some samples. `values`: their `_columns`."""
    operator = owner(rule.column)
    whys = values[f"{operator}.error"].to_list() if operator else [None] * len(values)
    draws = draw(rule.seed, values["uid"]).tolist() if rule.chance else [None] * len(values)
    return [
        RuleVerdict(name, rule.column, value, bound, worded, why if verdict is None else None, drawn)
        for value, verdict, worded, why, drawn in zip(
            values[rule.column].to_list(),
            verdicts,
            [_worded(verdict, rule.missing == "keep") for verdict in verdicts],
            whys,
            draws,
            strict=True,
        )
    ]


def _evidence(
    shows: Shows, shard: str, rows: Sequence[int]
) -> dict[str, list[Sequence[Mapping[str, object]]]]:
    """The evidence of every operator that a rule reads, and of those behind it, by row. An operator has none
    if columns or Stats that it would show are no longer stored."""
    evidence = dict[str, list[Sequence[Mapping[str, object]]]]()
    for name in shows.operators("evidence"):
        frame, stats = shows.rows(name, shard, rows), shows.stats(name)
        if frame is not None and stats is not None:
            operator, sources = shows.operator(name), shows.sources(name)
            tables = [operator.evidence(frame[at], stats, sources) for at in range(len(frame))]
            if strange := [table for table in tables if not isinstance(table, pl.DataFrame)]:
                raise OperatorError(
                    f"{name}: evidence() must return a polars DataFrame, got {brief(strange[0])}"
                )
            evidence[name] = [table.to_dicts() for table in tables]
    return evidence


def _worded(verdict: bool | None, missing_passes: bool) -> str:
    """A verdict in words; `missing_passes`: whether a sample without a value passes the rule."""
    if verdict is None:
        return "no value, passes" if missing_passes else NO_VALUE
    return "passes" if verdict else "fails"
