"""A kind of each family on Ray: what comes of it is what comes of it in the loop."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from tests.corpus.families import ALONE, FAMILIES
from tests.corpus.kind import Kind
from tests.corpus.laws import LAWS
from tests.corpus.pool import OddPool
from tests.corpus.walk import Walked, walk
from tests.support.command import winnow
from tests.support.warm import Done, Warm

# Families of which nothing is computed, or whose servers this process alone knows
ELSEWHERE = ("URL list", "S3 server")
SAME = ("samples", "kept", "dropped", "failed", "rules", "damaged", "lost")  # of the books


def telling(kinds: list[Kind]) -> Kind | None:
    """The first of these kinds that a run reads, with something wrong; else the first that it reads."""
    read = [kind for kind in kinds if not kind.environment and kind.outcome.status in (0, 1)]
    wrong = (kind for kind in read if kind.outcome.status or kind.outcome.failed)
    return next(wrong, next(iter(read), None))


CHOSEN = {
    family: kind
    for family, kinds in FAMILIES.items()
    if family not in ELSEWHERE and (kind := telling(kinds)) is not None
}


class Here(Warm):
    """Commands in this process, which Ray knows."""

    def winnow(
        self, *words: object, environment: Mapping[str, str | None] | None = None, **unused: Any
    ) -> Done:
        """Run a command to its end."""
        given = {name: value for name, value in (environment or {}).items() if value is not None}
        with mock.patch.dict("os.environ", given):
            done = winnow(*words)
        return Done(done.args, done.returncode, done.stdout, done.stderr)


def on_ray(kind: Kind) -> Kind:
    """The same kind, computed on Ray."""

    def build(pool: OddPool) -> None:
        kind.build(pool)
        pool.local = False

    return replace(kind, build=build)


def books(walked: Walked) -> dict[str, Any]:
    """What the books say, without paths and speeds."""
    found = walked.books or {}
    return {**{name: found.get(name) for name in SAME}, "pending": sorted(found.get("pending", ()))}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Walked:
    """The walk over sound shards alone, in the loop."""
    return walk(Here(), ALONE, tmp_path_factory.mktemp("alone"), whole=False)


@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize("family", CHOSEN)
def test_a_kind_of_each_family(family: str, alone: Walked, tmp_path: Path) -> None:
    kind = CHOSEN[family]
    there = walk(Here(), on_ray(kind), tmp_path / "ray", whole=False)
    wrong = {law: check(there, alone) for law, check in LAWS.items() if law != "bounds"}
    assert not any(wrong.values()), wrong
    here = walk(Here(), kind, tmp_path / "loop", whole=False)
    assert books(there) == books(here)
    assert (there.table is None) == (here.table is None)
    assert here.table is None or here.table.equals(there.table)
