"""What `winnow plan` says: which passes are missing, on how many samples, and roughly how long they take,
from the speeds that earlier runs on this store have measured; and what operators warn of."""

from typing import Any

from pipeline.ledger import speeds
from pipeline.plan import ScorePass, plan
from pipeline.session import Session


def preview(session: Session) -> dict[str, Any]:
    """The missing passes as plain data. `samples` and `seconds` are None where nothing is known yet."""
    stored = session.stored()
    known = stored.rows
    mean = sum(known.values()) / len(known) if known else None
    rates = speeds(session.store)
    passes = []
    for todo in plan(session.recipe, session.shards, session.keys, stored):
        names = list(todo.names) if isinstance(todo, ScorePass) else [todo.name]
        kind = "tables" if todo.shards[0].table else "tars"
        tar = isinstance(todo, ScorePass) and todo.tar
        samples = None if mean is None else round(sum(known.get(s.name, mean) for s in todo.shards))
        costs = [*names, *(["read", "decode"] if tar else [])]
        slow = [
            samples / rates[n]["rows_per_second"]
            for n in costs
            if samples and rates.get(n, {}).get("rows_per_second")
        ]
        size = sum(s.size or 0 for s in todo.shards) if tar else None
        passes.append(
            {
                "operators": names,
                "kind": "score" if isinstance(todo, ScorePass) else "stat",
                "reads": (f"{kind}, {size / 1e6:,.0f} MB" if size else kind) if tar else "columns",
                "shards": len(todo.shards),
                "samples": samples,
                "seconds": sum(slow) if slow and all(n in rates for n in names) else None,
            }
        )
    return {
        "shards": len(session.shards),
        "indexed": len(known),
        "samples": sum(known.values()) if known else None,
        "operators": {name: session.folder(name).split("/")[1] for name in session.recipe.compute},
        "passes": passes,
        "warnings": [
            f"compute.{name}: {warning}"
            for name in session.recipe.compute
            for warning in session.recipe.operator(name).warnings()
        ],
    }
