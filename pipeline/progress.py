"""Long loops of the engine tell how far they are, if somebody watches.

    for part in watched("deciding", threaded_map(decide, groups), len(groups)):   # the engine
        ...
    with watching(display):                                                       # the command line
        decide(session)

Nobody watches by default, and then `watched` hands its items on. A watcher belongs to the block that named it
and to the thread of that block, so that two sessions in one process do not see each other. A pass of Scores
counts its work in a Tally.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeVar

Item = TypeVar("Item")
Tick = Callable[[int], None]  # called with the number of items that are done since it was called last
Watcher = Callable[[str, int | None], Tick]  # of a loop: what it does, and its number of items if it is known

_WATCHER: ContextVar[Watcher | None] = ContextVar("watcher", default=None)


@contextmanager
def watching(watcher: Watcher) -> Iterator[None]:
    """Within the block, `watcher` is called when a loop begins."""
    token = _WATCHER.set(watcher)
    try:
        yield
    finally:
        _WATCHER.reset(token)


def watched(what: str, items: Iterable[Item], total: int | None = None) -> Iterator[Item]:
    """The items, each counted as it is handed out. `what`: the work that makes them, such as `deciding`."""
    tick = begun(what, total)
    for item in items:
        tick(1)
        yield item


def begun(what: str, total: int | None = None) -> Tick:
    """Tell that work has begun; returns the function to call as items are done, from any thread."""
    watcher = _WATCHER.get()
    return watcher(what, total) if watcher is not None else nobody


def nobody(count: int) -> None:
    """The tick of a loop that nobody watches."""


@dataclass
class Tally:
    """The work done so far, by operator: seconds of the workers, rows, and rows without a result. `decode`
    and `read` count as operators."""

    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    rows: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)

    def __iadd__(self, other: "Tally") -> "Tally":
        for name, seconds in other.seconds.items():
            self.seconds[name] += seconds
        self.rows.update(other.rows)
        self.failed.update(other.failed)
        return self

    def as_dict(self) -> dict[str, dict[str, Any]]:
        """As plain data, which `Tally.of` reads."""
        return {"seconds": dict(self.seconds), "rows": dict(self.rows), "failed": dict(self.failed)}

    @classmethod
    def of(cls, data: Mapping[str, Mapping[str, Any]]) -> "Tally":
        """The tally that `as_dict` gave."""
        tally = cls(rows=Counter(data.get("rows", {})), failed=Counter(data.get("failed", {})))
        tally.seconds.update(data.get("seconds", {}))
        return tally

    def add_call(self, name: str, started: float, rows: int, failed: int = 0) -> None:
        """Count one call of an operator on `rows` rows, which began at `started` (time.perf_counter) and has
        just ended."""
        self.add_time(name, started)
        self.rows[name] += rows
        self.failed[name] += failed

    def add_time(self, name: str, started: float) -> None:
        """Count the time since `started` (time.perf_counter) as work of an operator."""
        self.seconds[name] += time.perf_counter() - started
