"""What operators show of one sample: a table by which a person can judge their values, marks on the
picture, and the picture as they see it.

    shows = Shows(session)
    for name in shows.operators("evidence"):
        shows.rows(name, "00000", [3, 17])      # what their methods look at, a row for each
"""

import threading
from collections.abc import Mapping, Sequence
from functools import cached_property

import polars as pl

from pipeline.operator import Operator, Stat, Writer
from pipeline.plan.session import Session
from pipeline.schema import owner
from pipeline.storage import layout


class Shows:
    """The operators of a recipe that rules read, and those behind them. What was read last is held: several
    methods look at the same rows. For one thread; `another` is for another one."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._stats: dict[str, pl.DataFrame] = {}
        self._lock = threading.Lock()  # of the tables of Stats, which all threads share
        self._rows: dict[str, tuple[str, Sequence[int], pl.DataFrame | None]] = {}

    def another(self) -> "Shows":
        """The same, with rows of its own."""
        other = Shows(self.session)
        other._stats, other._lock = self._stats, self._lock
        return other

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The operators whose columns rules read, in the order of the rules; then those that they read, and
        so on."""
        recipe = self.session.recipe
        read = (owner(rule.column) for rule in recipe.keep.values())
        found = list(dict.fromkeys(name for name in read if name in recipe.compute))
        for name in found:
            sources = recipe.operator(name).owners()
            found += [other for other in sources if other in recipe.compute and other not in found]
        return tuple(found)

    def operators(self, method: str) -> list[str]:
        """Those that define an optional method of a Writer."""
        return [name for name in self.names if self._defines(name, method)]

    def all_operators(self, method: str) -> list[str]:
        """As `operators`, of all operators of the recipe; those that rules read, and those behind them, come
        first."""
        names = dict.fromkeys((*self.names, *self.session.recipe.compute))
        return [name for name in names if self._defines(name, method)]

    def _defines(self, name: str, method: str) -> bool:
        """Whether an operator defines an optional method of a Writer."""
        operator = self.session.recipe.operator(name)
        return isinstance(operator, Writer) and getattr(type(operator), method) is not getattr(Writer, method)

    def operator(self, name: str) -> Writer:
        """One of `operators`."""
        operator = self.session.recipe.operator(name)
        assert isinstance(operator, Writer)
        return operator

    def rows(self, name: str, shard: str, rows: Sequence[int]) -> pl.DataFrame | None:
        """(len(rows), inputs and own columns) of an operator, own columns under their short names after a
        dot; None if they are no longer stored."""
        held = self._rows.get(name)
        if held is None or held[:2] != (shard, rows):
            held = self._rows[name] = (shard, rows, self._read(name, shard, rows))
        return held[2]

    def _read(self, name: str, shard: str, rows: Sequence[int]) -> pl.DataFrame | None:
        """See `rows`."""
        operator = self.operator(name)
        inputs = [column for column in operator.inputs() if not self._is_stat(column)]
        own = {f"{name}.{short}": f".{short}" for short in operator.writes}
        try:
            return self.session.columns.rows_at(shard, rows, list(dict.fromkeys([*inputs, *own]))).rename(own)
        except FileNotFoundError:
            return None

    def stats(self, name: str) -> Mapping[str, pl.DataFrame] | None:
        """The tables of the Stats that an operator reads; None if one is no longer stored."""
        wanted = [need for need in self.operator(name).inputs() if self._is_stat(need)]
        try:
            return {need: self._stat(need) for need in wanted}
        except FileNotFoundError:
            return None

    def sources(self, name: str) -> Mapping[str, Operator]:
        """The operators whose columns an operator reads, by name."""
        recipe = self.session.recipe
        return {n: recipe.operator(n) for n in self.operator(name).owners() if n in recipe.compute}

    def _stat(self, name: str) -> pl.DataFrame:
        """A Stat's table. Raises FileNotFoundError."""
        with self._lock:
            if name not in self._stats:
                self._stats[name] = self.session.store.read(layout.stat(name, self.session.keys[name]))
            return self._stats[name]

    def _is_stat(self, name: str) -> bool:
        """Whether a name is that of a Stat of the recipe."""
        recipe = self.session.recipe
        return name in recipe.compute and isinstance(recipe.operator(name), Stat)
