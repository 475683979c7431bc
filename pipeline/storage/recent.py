"""A small cache with an owner: the values used last, by key.

packs = Recent[int, bytes](8)
data = packs.get(number, lambda: fetch(number))     # fetched at the first call, and again after eight others
"""

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class Recent(Generic[Key, Value]):
    """At most `size` values; the one that was used longest ago goes first. Safe to use from several threads:
    two that ask for the same missing key at the same time may both make its value."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._values = OrderedDict[Key, Value]()
        self._lock = threading.Lock()

    def get(self, key: Key, make: Callable[[], Value]) -> Value:
        """The value of a key, made if it is not held. An error in `make` passes through and nothing is
        held."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
        return self.put(key, make())

    def put(self, key: Key, value: Value) -> Value:
        """Hold a value, in place of an older one of that key; returns it."""
        with self._lock:
            self._values[key] = value
            self._values.move_to_end(key)
            if len(self._values) > self._size:
                self._values.popitem(last=False)
        return value
