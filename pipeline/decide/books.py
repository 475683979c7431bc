"""The books: what was read, kept, dropped and failed, at what speed. Merged from the store, so that they
are right after any number of kills and relaunches.

Counts come from the decisions, damage from the samples' footers. Only time cannot be told from results:
each run keeps a small log, `runs/<start>-<pid>.json`, rewritten every few seconds.
"""

import os
import time
from collections import Counter, defaultdict
from typing import Any

import orjson

from pipeline.plan.session import Session
from pipeline.run.batches import Read
from pipeline.run.stage import Tally
from pipeline.storage.store import Store

FLUSH = 5.0  # seconds between writes of a run's log


class RunLog:
    """What one run did, and how fast. `pending` holds shards that could not be read, with reasons."""

    def __init__(self, store: Store) -> None:
        self.store, self.started, self.flushed = store, time.time(), time.time()
        self.path = f"runs/{time.strftime('%Y%m%dT%H%M%S')}-{os.getpid()}.json"
        self.tally, self.bytes = Tally(), 0
        self.pending: dict[str, str] = {}
        self.workers: dict[str, int] = {}

    def add(self, tally: Tally, read: Read | None) -> None:
        """Count a batch, or a shard that has been read."""
        self.tally += tally
        if read is not None:
            self.tally.seconds["read"] += read.seconds
            self.tally.rows["read"] += read.rows
            self.bytes += read.bytes
        if time.time() - self.flushed > FLUSH:
            self.write()

    def stat(self, name: str, seconds: float) -> None:
        """Count a Stat's reduction."""
        self.tally.seconds[name] += seconds

    def write(self) -> None:
        """Write the log, if anything was done."""
        self.flushed = time.time()
        if self.tally.seconds:
            self.store.files.publish(self.path, orjson.dumps(self.summary(), option=orjson.OPT_INDENT_2))

    def summary(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "seconds": round(time.time() - self.started, 3),
            "image_bytes": self.bytes,
            "workers": self.workers,
            "pending": self.pending,
            "operators": self.tally.as_dict(),
        }


def speeds(store: Store) -> dict[str, dict[str, float]]:
    """Operator -> rows, seconds of one worker, rows per second and worker, over all runs on this store."""
    tally = Tally()
    busy: dict[str, float] = defaultdict(float)
    for name in sorted(store.files.names("runs", ".json")):
        run = orjson.loads(store.files.read(f"runs/{name}.json"))
        tally += Tally.of(run["operators"])
        for operator, seconds in run["operators"]["seconds"].items():
            workers = run["workers"].get(operator) or run["workers"].get(
                _stage_of(operator, run["workers"]), 1
            )
            busy[operator] += seconds / workers
    return {
        name: {
            "rows": tally.rows[name],
            "seconds": round(seconds, 3),
            "rows_per_second": round(tally.rows[name] / seconds, 1) if seconds else 0.0,
            "busy": round(busy[name], 3),
        }
        for name, seconds in sorted(tally.seconds.items(), key=lambda item: -busy[item[0]])
    }


def _stage_of(operator: str, workers: dict[str, int]) -> str:
    """Decoding happens in the image operators' pool, the largest one."""
    pools = {name: count for name, count in workers.items() if name != "read"}
    return max(pools, key=lambda name: pools[name]) if operator == "decode" and pools else operator


def noted(session: Session) -> dict[str, Any]:
    """What the samples' footers tell. `damaged`: shards whose file breaks off, with the place (of a packed
    table: in what it unpacks to) and reason. `lost`: reason -> URLs that a download has not fetched."""
    broken: dict[str, str] = {}
    lost: Counter[str] = Counter()
    names = [shard.name for shard in session.shards if session.sample_folders]
    for shard, footer in session.store.footers("samples", names).items():
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
