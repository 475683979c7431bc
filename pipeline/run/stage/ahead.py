"""The operators of a stage that work ahead, on one slice: what they have prepared and launched.

An operator that raises is left out from then on. The caller then calls its `score`, which finds the rows at
fault.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import polars as pl

from pipeline.errors import OperatorError, is_fault, worded
from pipeline.operator import ImageScore
from pipeline.progress import Tally
from pipeline.run.stage.calls import OUT_OF_MEMORY, Images, checked, inputs_of


class Ahead:
    """One slice, for operators by name.

    tally     the seconds of `prepare` and `launch` are added to it
    too_much  is told of an operator that has run out of memory for the whole slice
    """

    def __init__(
        self, operators: Mapping[str, ImageScore], tally: Tally, too_much: Callable[[str], None]
    ) -> None:
        self.operators = operators
        self.tally = tally
        self.too_much = too_much
        self.prepared: dict[str, list[Any]] = {name: [] for name in operators}
        self.launched: dict[str, Any] = {}

    def prepare(self, part: pl.DataFrame, images: Images) -> None:
        """Let each operator take what it needs of the pictures of the slice's next rows. Raises
        OperatorError."""
        for name, parts in list(self.prepared.items()):
            started = time.perf_counter()
            with self._left_out_if_it_raises(name, whole=False):
                operator = self.operators[name]
                parts.append(operator.prepare(inputs_of(operator, part), cast(Any, images)))
            self.tally.add_time(name, started)

    def launch(self, batch: pl.DataFrame) -> None:
        """Let each operator begin the work on the whole slice. Raises OperatorError."""
        for name, parts in list(self.prepared.items()):
            started = time.perf_counter()
            with self._left_out_if_it_raises(name):
                operator = self.operators[name]
                self.launched[name] = operator.launch(inputs_of(operator, batch), parts)
            self.tally.add_time(name, started)
        self.prepared.clear()

    def complete(self, name: str, batch: pl.DataFrame) -> pl.DataFrame | None:
        """An operator's columns for the slice, as `calls.score` gives them; None if it has raised, or does
        not work ahead. Raises OperatorError."""
        if name not in self.launched:
            return None
        result = None
        with self._left_out_if_it_raises(name):
            operator = self.operators[name]
            result = operator.complete(inputs_of(operator, batch), self.launched.pop(name))
            result = checked(name, operator, result, len(batch), "complete")
        return result

    @contextmanager
    def _left_out_if_it_raises(self, name: str, whole: bool = True) -> Iterator[None]:
        """Within the block an operator may raise. `whole`: it has work on the whole slice: a part that is too
        large for it would be so in a smaller slice, too. Raises OperatorError."""
        try:
            yield
        except OperatorError:
            raise
        except BaseException as error:
            if not is_fault(error):
                raise
            self.prepared.pop(name, None)
            self.launched.pop(name, None)
            if whole and OUT_OF_MEMORY.search(worded(error)):
                self.too_much(name)
