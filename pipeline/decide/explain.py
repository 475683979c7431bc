"""Why a sample was kept or dropped: every rule, with its value, its bound and its verdict, and what the
operators have to show for it."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.decide.decide import summary
from pipeline.errors import RecipeError
from pipeline.operator import Stat, Writer
from pipeline.plan.session import Session
from pipeline.pool.columns import Columns
from pipeline.run.ordered_map import threaded_map
from pipeline.schema import owner
from pipeline.storage import layout

SHOWN = ("uid", "shard", "row", "key", "text", "url", "width", "height")


def explain(session: Session, uids: Sequence[str]) -> list[dict[str, Any]]:
    """One entry per sample with such a uid (a uid may occur more than once). Raises RecipeError where a uid
    is not in the pool."""
    wanted = [uid.strip().lower() for uid in uids]
    bounds = summary(session)["rules"]
    found = [_explain(session, bounds, shard, row) for shard, row in _find(session, wanted)]
    unknown = set(wanted) - {entry["uid"] for entry in found}
    if unknown:
        raise RecipeError(f"no sample of the pool has the uid {', '.join(sorted(unknown))}")
    return sorted(found, key=lambda entry: wanted.index(entry["uid"]))


def _find(session: Session, uids: Sequence[str]) -> list[tuple[str, int]]:
    """(shard, row) of every sample with one of these uids."""
    columns, groups = session.columns, ([shard.name] for shard in session.shards)
    return [
        (shard, row)
        for (shard, rows) in threaded_map(lambda group: (group[0], columns.find(group[0], uids)), groups)
        for row in rows
    ]


def _explain(session: Session, bounds: Mapping[str, Any], shard: str, row: int) -> dict[str, Any]:
    columns = session.columns
    rules = session.recipe.keep
    sample = columns.row(shard, row, SHOWN)
    verdicts = session.store.verdicts(session.decisions, shard).row(row, named=True)
    lines = []
    for name, rule in rules.items():
        errors = [f"{name_of}.error"] if (name_of := owner(rule.column)) else []
        values = columns.read(shard, [rule.column, *errors]).row(row, named=True)
        lines.append(
            {
                "rule": name,
                "column": rule.column,
                "value": values[rule.column],
                "bound": bounds[name]["bound"],
                "verdict": _word(verdicts[name], rule.missing),
                "why": next((values[error] for error in errors), None) if verdicts[name] is None else None,
            }
        )
    return {
        **sample,
        "keep": verdicts["keep"],
        "rules": lines,
        "evidence": _evidence(session, columns, shard, row),
    }


def _evidence(session: Session, columns: Columns, shard: str, row: int) -> dict[str, list[dict[str, Any]]]:
    """By operator that a rule reads, the table that it shows for a sample; none where what it would show is
    no longer stored."""
    recipe, found = session.recipe, {}
    for name in dict.fromkeys(o for rule in recipe.keep.values() if (o := owner(rule.column)) is not None):
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
        found[name] = operator.evidence(frame[row : row + 1], stats).to_dicts()
    return {name: rows for name, rows in found.items() if rows}


def _word(verdict: bool | None, missing: str) -> str:
    if verdict is None:
        return "no value, passes" if missing == "keep" else "no value"
    return "passes" if verdict else "fails"
