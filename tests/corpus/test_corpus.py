"""Every kind of input, through the commands: what comes of it, and the laws. `make test-full` and
`python -m tests.corpus` take each kind through plan, run, keep, explain, export and report."""

import pytest

from tests.corpus.families import ALONE, FAMILIES
from tests.corpus.laws import LAWS
from tests.corpus.walk import Walked, walk
from tests.support.sizes import either
from tests.support.warm import Warm

EACH = either(12, 1)  # of so many kinds one goes through all commands, the others through the telling ones
ALL = [(family, kind) for family, kinds in FAMILIES.items() for kind in kinds]
KINDS = [
    pytest.param((kind, number % EACH == 0), id=f"{family}: {kind.name}")
    for number, (family, kind) in enumerate(ALL)
]


@pytest.fixture(scope="module")
def alone(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> Walked:
    """The walk over sound shards alone."""
    return walk(warm, ALONE, tmp_path_factory.mktemp("alone"))


@pytest.fixture(params=KINDS)
def walked(request: pytest.FixtureRequest, warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> Walked:
    """The walk over one kind."""
    kind, whole = request.param
    return walk(warm, kind, tmp_path_factory.mktemp("odd"), whole)


def test_kinds(walked: Walked, alone: Walked) -> None:
    wrong = {law: faults for law, check in LAWS.items() if (faults := check(walked, alone))}
    assert wrong == {}
