"""Every kind of input, through the commands: what comes of it, and the laws. `make test-full` and
`python -m tests.corpus` take each kind through plan, run, keep, explain, export and report."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import pytest

from tests.corpus.families import ALONE, FAMILIES
from tests.corpus.kind import Kind
from tests.corpus.laws import LAWS
from tests.corpus.walk import Walked, walk
from tests.support.sizes import either
from tests.support.warm import Warm

TORCH = ("array", "checkpoint", "URL list")  # families whose commands import torch, nearly all of them
EACH = either(12, 1)  # of so many kinds one goes through all commands, the others through the telling ones
ALL = [(family, kind) for family, kinds in FAMILIES.items() for kind in kinds]
KINDS = [
    pytest.param(kind, number % EACH == 0, family in TORCH, id=f"{family}: {kind.name}")
    for number, (family, kind) in enumerate(ALL)
]


@pytest.fixture(scope="module", name="process_of")
def _process_of() -> Iterator[Callable[[bool], Warm]]:
    """Gives a warm process, which has imported torch or not."""
    with ExitStack() as stack:
        yield cache(lambda torch: stack.enter_context(Warm(torch)))


@pytest.fixture(scope="module", name="alone_of")
def _alone_of(
    process_of: Callable[[bool], Warm], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[bool], Walked]:
    """Gives the walk over sound shards alone, by such a process."""
    return cache(lambda torch: walk(process_of(torch), ALONE, tmp_path_factory.mktemp("alone")))


@pytest.mark.parametrize(("kind", "whole", "torch"), KINDS)
def test_kinds(
    kind: Kind,
    whole: bool,
    torch: bool,
    process_of: Callable[[bool], Warm],
    alone_of: Callable[[bool], Walked],
    tmp_path: Path,
) -> None:
    walked = walk(process_of(torch), kind, tmp_path, whole)
    wrong = {law: faults for law, check in LAWS.items() if (faults := check(walked, alone_of(torch)))}
    assert wrong == {}
