"""Why a sample was kept or dropped: every rule with its value, its bound and its verdict, and the evidence
that operators show for their values, such as nearest neighbours.

    (explanation,) = explain(session, ["7d1e141fee937058d0f5f11e1fa44f04"])
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.decide.decide import decide
from pipeline.decide.decision import Decision
from pipeline.errors import RecipeError
from pipeline.operator import Stat, Writer
from pipeline.ordered_map import threaded_map
from pipeline.plan.session import Session
from pipeline.pool.columns import Columns
from pipeline.schema import owner
from pipeline.storage import layout

NO_VALUE = "no value"  # the verdict of a rule that needs a value and has none
SHOWN = ("uid", "shard", "row", "key", "text", "url", "width", "height")  # fields of an Explanation


@dataclass(frozen=True)
class RuleVerdict:
    """One rule's verdict on one sample.

    value    of the column that the rule reads, None if the sample has none
    bound    the rule in words, with its cut
    verdict  `passes`, `fails`, `no value` (the sample goes) or `no value, passes` (`missing: keep`)
    why      the operator's reason for giving no value, if it gave one
    """

    rule: str
    column: str
    value: object
    bound: str
    verdict: str
    why: str | None


@dataclass(frozen=True)
class Explanation:
    """A sample, what became of it, and why. `evidence`: operator -> the rows of its table, column by name.
    `lacks`: what was missing or wrong as the sample was read; None if nothing was."""

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

    @property
    def fate(self) -> str:
        """`kept`, `dropped` or `failed`, as the funnel counts the sample: it failed if a rule that needs a
        value has none."""
        if self.keep:
            return "kept"
        return "failed" if any(rule.verdict == NO_VALUE for rule in self.rules) else "dropped"


def explain(session: Session, uids: Sequence[str]) -> list[Explanation]:
    """The samples with these uids, in the order of the uids; several samples may share one. The decision must
    be stored. Raises RecipeError if the pool lacks one of them."""
    wanted = [uid.strip().lower() for uid in uids]
    decision = decide(session)
    explanations = [_explain(session, decision, shard, row) for shard, row in _find(session, wanted)]
    unknown = set(wanted) - {explanation.uid for explanation in explanations}
    if unknown:
        raise RecipeError(f"no sample of the pool has the uid {', '.join(sorted(unknown))}")
    return sorted(explanations, key=lambda explanation: wanted.index(explanation.uid))


def _find(session: Session, uids: Sequence[str]) -> list[tuple[str, int]]:
    """(shard, row) of every sample with one of these uids."""
    columns = session.columns
    names = [shard.name for shard in session.shards]
    rows_by_shard = threaded_map(lambda shard: columns.find(shard, uids), names)
    return [(shard, row) for shard, rows in zip(names, rows_by_shard, strict=True) for row in rows]


def _explain(session: Session, decision: Decision, shard: str, row: int) -> Explanation:
    """The explanation of the sample in a row of a shard."""
    verdicts = session.store.verdicts(session.decisions, shard).row(row, named=True)
    return Explanation(
        **session.columns.row(shard, row, SHOWN),
        keep=verdicts["keep"],
        rules=[
            _verdict(session, name, decision.rules[name].bound, verdicts[name], shard, row)
            for name in session.recipe.keep
        ],
        evidence=_evidence(session, session.columns, shard, row),
        lacks=_lacks(session, shard, row),
    )


def _lacks(session: Session, shard: str, row: int) -> str | None:
    """The sample's own error. A pool that is its own table has none."""
    if not session.sample_folders:
        return None
    error = session.columns.samples.row(shard, row, ["error"])["error"][0]
    return None if error is None else str(error)


def _verdict(
    session: Session, name: str, bound: str, verdict: bool | None, shard: str, row: int
) -> RuleVerdict:
    """A rule's verdict, with the value that it judged."""
    rule = session.recipe.keep[name]
    operator = owner(rule.column)
    error = f"{operator}.error" if operator else None
    columns = [rule.column, error] if error else [rule.column]
    values = session.columns.read(shard, columns).row(row, named=True)
    why = values[error] if error and verdict is None else None
    return RuleVerdict(
        name, rule.column, values[rule.column], bound, _worded(verdict, rule.missing == "keep"), why
    )


def _evidence(
    session: Session, columns: Columns, shard: str, row: int
) -> dict[str, Sequence[Mapping[str, object]]]:
    """The evidence of every operator that a rule reads. An operator has none if columns or Stats that it
    would show are no longer stored."""
    recipe = session.recipe
    operators = [name for rule in recipe.keep.values() if (name := owner(rule.column)) is not None]
    evidence = {}
    for name in dict.fromkeys(operators):
        operator = recipe.operator(name)
        if not isinstance(operator, Writer) or type(operator).evidence is Writer.evidence:
            continue
        inputs = operator.inputs()
        tables = [n for n in inputs if n in recipe.compute and isinstance(recipe.operator(n), Stat)]
        try:
            stats = {n: session.store.read(layout.stat(n, session.keys[n])) for n in tables}
            frame = columns.read(shard, [n for n in inputs if n not in tables])
        except FileNotFoundError:
            continue
        evidence[name] = operator.evidence(frame[row : row + 1], stats).to_dicts()
    return {name: rows for name, rows in evidence.items() if rows}


def _worded(verdict: bool | None, missing_passes: bool) -> str:
    """A verdict in words; `missing_passes`: whether a sample without a value passes the rule."""
    if verdict is None:
        return "no value, passes" if missing_passes else NO_VALUE
    return "passes" if verdict else "fails"
