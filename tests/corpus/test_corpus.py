"""Every kind of input, through plan, run, keep, explain and export: what comes of it, and the laws."""

from collections.abc import Iterator

import pytest

from tests.corpus.families import ALONE, FAMILIES
from tests.corpus.laws import LAWS
from tests.corpus.walk import Walked, walk
from tests.support.warm import Warm

KINDS = [pytest.param(kind, id=f"{family}: {kind.name}") for family in FAMILIES for kind in FAMILIES[family]]


@pytest.fixture(scope="module")
def warm() -> Iterator[Warm]:
    """A process that has imported everything."""
    with Warm() as warm:
        yield warm


@pytest.fixture(scope="module")
def alone(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> Walked:
    """The walk over sound shards alone."""
    return walk(warm, ALONE, tmp_path_factory.mktemp("alone"))


@pytest.fixture(scope="module", params=KINDS)
def walked(request: pytest.FixtureRequest, warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> Walked:
    """The walk over one kind."""
    return walk(warm, request.param, tmp_path_factory.mktemp("odd"))


@pytest.mark.parametrize("law", LAWS)
def test_kinds(walked: Walked, alone: Walked, law: str) -> None:
    assert LAWS[law](walked, alone) == []
