"""Why a sample was kept or dropped: every rule, with its value, its bound and its verdict."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.cuts import in_threads
from pipeline.decide import summary
from pipeline.errors import RecipeError
from pipeline.operator import owner
from pipeline.session import Session

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
        for (shard, rows) in in_threads(lambda group: (group[0], columns.find(group[0], uids)), groups)
        for row in rows
    ]


def _explain(session: Session, bounds: Mapping[str, Any], shard: str, row: int) -> dict[str, Any]:
    columns = session.columns
    rules = session.recipe.keep
    sample = columns.row(shard, row, SHOWN)
    verdicts = session.store.read(f"{session.decisions}/{shard}.parquet").row(row, named=True)
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
    }


def _word(verdict: bool | None, missing: str) -> str:
    if verdict is None:
        return "no value, passes" if missing == "keep" else "no value"
    return "passes" if verdict else "fails"
