"""How long each run took: `runs/<start>-<pid>.json`, rewritten every few seconds.

All other counts can be derived from the results in the store; time cannot, so it has a log.
"""

import os
import time
from collections import defaultdict
from typing import Any

import orjson

from pipeline.run.batches import Read
from pipeline.run.stage import Tally
from pipeline.storage import layout
from pipeline.storage.store import Store

FLUSH = 5.0  # seconds between writes of a run's log


class RunLog:
    """What one run did, and how fast. `pending` holds shards that could not be read, with reasons."""

    def __init__(self, store: Store) -> None:
        self.store, self.started, self.flushed = store, time.time(), time.time()
        self.path = layout.run_log(f"{time.strftime('%Y%m%dT%H%M%S')}-{os.getpid()}")
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
            self.store.root.publish(self.path, orjson.dumps(self.summary(), option=orjson.OPT_INDENT_2))

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
    for name in sorted(store.root.file_names(layout.RUNS, ".json")):
        run = orjson.loads(store.root.read(layout.run_log(name)))
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
