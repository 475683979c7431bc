"""A process that is killed after any number of steps, without a process: the step after them raises.

steps, ended = 0, False
while not ended:
    with killed_after(monkeypatch, steps, (Folder, "publish"), (os, "replace")) as run:
        write()
    ended = run.ended
    ...                                  # what holds at every moment
    steps += 1
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest


class Killed(BaseException):
    """In the place of a SIGKILL: nothing but `killed_after` catches it."""


@dataclass
class Run:
    """Whether the block ended before it was killed."""

    ended: bool = False


@contextmanager
def killed_after(monkeypatch: pytest.MonkeyPatch, steps: int, *calls: tuple[Any, str]) -> Iterator[Run]:
    """Run the block until it has made so many of these calls, each (object, name of its function)."""
    left, run = steps, Run()

    def counting(function: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any, **options: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                raise Killed
            return function(*arguments, **options)

        return step

    with monkeypatch.context() as patch:
        for owner, name in calls:
            patch.setattr(owner, name, counting(getattr(owner, name)))
        try:
            yield run
            run.ended = True
        except Killed:
            pass
