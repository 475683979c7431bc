"""A kind of each family on Ray: what comes of it is what comes of it in the loop."""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
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
from tests.support.ray_nodes import shut_down, start_local
from tests.support.sizes import only_full
from tests.support.warm import Done, Warm

OWN = {"environment": "no HOME"}  # families of which another kind is telling: this one changes how Ray runs
DEFAULT = ("tar", "image", "URL list", "HTTP server", "environment")  # the others read as in the loop
VARIABLES = ("S3 server",)  # families whose kinds set variables, which Ray's workers have from its start
SAME = ("samples", "kept", "dropped", "failed", "rules", "damaged", "lost")  # of the books


def telling(kinds: list[Kind]) -> Kind | None:
    """The first of these kinds that a run reads, with something wrong; else the first that it reads."""
    read = [kind for kind in kinds if kind.outcome.status in (0, 1)]
    wrong = (kind for kind in read if kind.outcome.status or kind.outcome.failed)
    return next(wrong, next(iter(read), None))


CHOSEN = {
    family: kind
    for family, kinds in FAMILIES.items()
    if (kind := telling([k for k in kinds if OWN.get(family, k.name) == k.name])) is not None
}


class Here(Warm):
    """Commands in this process, which Ray knows."""

    def winnow(
        self, *words: object, environment: Mapping[str, str | None] | None = None, **unused: Any
    ) -> Done:
        """Run a command to its end."""
        with mock.patch.dict("os.environ"):
            for name, value in (environment or {}).items():
                os.environ.pop(name, "") if value is None else os.environ.update({name: value})
            done = winnow(*words)
        return Done(done.args, done.returncode, done.stdout, done.stderr)


def on_ray(kind: Kind, anew: bool = False) -> Kind:
    """The same kind, computed on Ray. `anew`: on one that starts when the kind has set its variables."""

    def build(pool: OddPool) -> None:
        kind.build(pool)
        pool.local = False
        if anew:
            pool.serve = partial(_on_ray_of_its_own, pool.serve)

    return replace(kind, build=build)


@contextmanager
def _on_ray_of_its_own(
    serve: Callable[[], AbstractContextManager[Mapping[str, str]]],
) -> Iterator[Mapping[str, str]]:
    """Ray starts when `serve` has, and ends before it."""
    with serve() as variables:
        shut_down()
        start_local()
        try:
            yield variables
        finally:
            shut_down()


def books(walked: Walked) -> dict[str, Any]:
    """What the books say, without paths and speeds; of a list of URLs, what became of these."""
    if "ingest" in walked.done:
        found = json.loads(walked.done["ingest"].stdout)
        return {name: found[name] for name in ("listed", "downloaded", "lost")}
    found = walked.books or {}
    return {**{name: found.get(name) for name in SAME}, "pending": sorted(found.get("pending", ()))}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Walked:
    """The walk over sound shards alone, in the loop."""
    return walk(Here(), ALONE, tmp_path_factory.mktemp("alone"), whole=False)


@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize("family", [pytest.param(f, marks=[] if f in DEFAULT else only_full) for f in CHOSEN])
def test_a_kind_of_each_family(family: str, alone: Walked, tmp_path: Path) -> None:
    kind = CHOSEN[family]
    there = walk(Here(), on_ray(kind, family in VARIABLES), tmp_path / "ray", whole=False)
    wrong = {law: check(there, alone) for law, check in LAWS.items() if law != "bounds"}
    assert not any(wrong.values()), wrong
    here = walk(Here(), kind, tmp_path / "loop", whole=False)
    assert books(there) == books(here)
    assert (there.table is None) == (here.table is None)
    assert here.table is None or here.table.equals(there.table)
