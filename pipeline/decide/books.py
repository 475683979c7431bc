"""The books: what was read, kept, dropped and failed, at what speed. Merged from the store, so that they
are right after any number of kills and relaunches.

Counts come from the decisions, damage from the samples' footers. Only time cannot be told from results:
each run keeps a small log, `runs/<start>-<pid>.json`, rewritten every few seconds.
"""

from collections import Counter
from typing import Any

from pipeline.plan.session import Session
from pipeline.run.log import speeds
from pipeline.storage import layout


def noted(session: Session) -> dict[str, Any]:
    """What the samples' footers tell. `damaged`: shards whose file breaks off, with the place (of a packed
    table: in what it unpacks to) and reason. `lost`: reason -> URLs that a download has not fetched."""
    broken: dict[str, str] = {}
    lost: Counter[str] = Counter()
    names = [shard.name for shard in session.shards if session.sample_folders]
    for shard, footer in session.store.footers(layout.SAMPLES, names).items():
        if damage := footer.notes.get("damage"):
            broken[shard] = f"{damage['reason']} (byte {damage['offset']})"
        lost.update(footer.notes.get("lost", {}))
    return {"damaged": broken, "lost": dict(sorted(lost.items(), key=lambda item: (-item[1], item[0])))}


def books(session: Session, decision: dict[str, Any], pending: dict[str, str]) -> dict[str, Any]:
    """The ledger of a decision: samples = kept + dropped + failed, or an AssertionError. Where tars were
    downloaded, listed = samples + lost."""
    if decision["samples"] != decision["kept"] + decision["dropped"] + decision["failed"]:
        raise AssertionError(f"the books do not balance: {decision}")
    rates, notes = speeds(session.store), noted(session)
    return {
        **decision,
        "listed": decision["samples"] + sum(notes["lost"].values()),
        **notes,
        "pending": pending,
        "speeds": rates,
        "bottleneck": next(iter(rates), None),
    }
