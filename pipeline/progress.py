"""Long loops of the engine tell how far they are, if somebody watches.

    for part in watched("deciding", threaded_map(decide, groups), len(groups)):   # the engine
        ...
    with watching(display):                                                       # the command line
        decide(session)

Nobody watches by default, and then `watched` hands its items on. A watcher belongs to the block that named it
and to the thread of that block, so that two sessions in one process do not see each other.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

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
