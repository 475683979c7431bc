"""Why a sample was kept or dropped: every rule, with its value, its bound and its verdict."""

from collections.abc import Sequence
from typing import Any

import polars as pl

from pipeline.decide import decision_folder, summary
from pipeline.errors import RecipeError
from pipeline.session import Session
from pipeline.store import Columns


def explain(session: Session, uids: Sequence[str]) -> list[dict[str, Any]]:
    """One entry per sample with such a uid (a uid may occur more than once). Raises RecipeError where a uid
    is not in the pool."""
    wanted = [uid.strip().lower() for uid in uids]
    found = [_explain(session, shard, row) for shard, row in _find(session, wanted)]
    unknown = set(wanted) - {entry["uid"] for entry in found}
    if unknown:
        raise RecipeError(f"no sample of the pool has the uid {', '.join(sorted(unknown))}")
    return sorted(found, key=lambda entry: wanted.index(entry["uid"]))


def _find(session: Session, uids: Sequence[str]) -> list[tuple[str, int]]:
    """(shard, row) of every sample with one of these uids."""
    found = []
    for shard in session.shards:
        frame = session.store.read(f"samples/{shard.name}.parquet", ["uid", "row"])
        found += [(shard.name, row) for row in frame.filter(pl.col("uid").is_in(uids))["row"]]
    return found


def _explain(session: Session, shard: str, row: int) -> dict[str, Any]:
    columns = Columns(session.recipe.pool.store, session.keys)
    rules = session.recipe.keep
    bounds = summary(session)["rules"]
    sample = session.store.read(f"samples/{shard}.parquet").row(row, named=True)
    verdicts = session.store.read(f"{decision_folder(session)}/{shard}.parquet").row(row, named=True)
    lines = []
    for name, rule in rules.items():
        owner, dot, _ = rule.column.partition(".")
        values = columns.read(shard, [rule.column, *([f"{owner}.error"] if dot else [])]).row(row, named=True)
        lines.append(
            {
                "rule": name,
                "column": rule.column,
                "value": values[rule.column],
                "bound": bounds[name]["bound"],
                "verdict": _word(verdicts[name], rule.missing),
                "why": values.get(f"{owner}.error") if verdicts[name] is None else None,
            }
        )
    return {
        **{key: sample[key] for key in ("uid", "shard", "row", "key", "text", "url", "width", "height")},
        "keep": verdicts["keep"],
        "rules": lines,
    }


def _word(verdict: bool | None, missing: str) -> str:
    if verdict is None:
        return "no value, passes" if missing == "keep" else "no value"
    return "passes" if verdict else "fails"
