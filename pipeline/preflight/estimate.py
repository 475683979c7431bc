"""How long the missing passes take, and on how many workers. Pure arithmetic.

    whole = estimate(passes, hours=24)
    print(whole.seconds, whole.workers, whole.bottleneck)

Seconds are those of one worker of the plain loop.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class StagePool:
    """The pool of workers of one stage: its operators, and what each worker reserves, memory in GiB."""

    operators: Sequence[str]
    workers: int
    cpus: float
    gpus: float
    memory: float


@dataclass(frozen=True)
class MissingPass:
    """A pass that would run, and its cost; what is not known yet is None.

    operators  in the order in which they run
    reads      in words: `tars, 120 MB`, `tables` or `columns`
    shuffled   of a Group: bytes of the rows that are written to the store, so that they meet
    memory     of a Group: GiB of each of its tasks
    bytes      of the shards that it reads
    seconds    of one worker, None unless the speed of every operator is known
    costs      operator, `read` or `decode` -> seconds of one worker, as far as known
    pools      by stage; empty unless the plan is for a cluster
    """

    operators: Sequence[str]
    kind: Literal["score", "stat", "group"]
    reads: str
    bytes: int | None
    shards: int
    samples: int | None
    seconds: float | None
    costs: Mapping[str, float]
    pools: Sequence[StagePool]
    shuffled: int | None = None
    memory: float | None = None


@dataclass(frozen=True)
class OperatorCost:
    """One operator's seconds of one worker, its share of all, and how many workers it needs for the hours
    given."""

    seconds: float
    share: float
    workers: int | None


@dataclass(frozen=True)
class Estimate:
    """The cost of all missing passes.

    seconds     of one worker, None unless known of every pass
    hours       in which they are to be done, if the user set them
    workers     that this takes in all
    bottleneck  the operator that takes most of the seconds
    operators   name -> its cost, the most expensive first; `read` and `decode` count as operators
    """

    seconds: float | None
    hours: float | None
    workers: int | None
    bottleneck: str | None
    operators: Mapping[str, OperatorCost]


def estimate(passes: Sequence[MissingPass], hours: float | None = None) -> Estimate:
    """The cost of all passes, and the workers that it takes to be done in `hours`.

    A pass gets the share of the hours that it has of the seconds. Its operators run side by side, so each of
    them needs as many workers as keep up."""
    total = sum(sum(step.costs.values()) for step in passes)
    known = bool(passes) and all(step.seconds is not None for step in passes)
    costs: dict[str, float] = {}
    workers: dict[str, float] = {}
    for step in passes:
        in_pass = sum(step.costs.values())
        for name, seconds in step.costs.items():
            costs[name] = costs.get(name, 0.0) + seconds
            if hours:
                needed = seconds / (hours * 3600 * in_pass / total)
                workers[name] = max(workers.get(name, 0.0), needed)
    operators = {
        name: OperatorCost(seconds, seconds / total, math.ceil(workers[name]) if hours else None)
        for name, seconds in sorted(costs.items(), key=lambda item: -item[1])
    }
    return Estimate(
        seconds=total if known else None,
        hours=hours,
        workers=math.ceil(total / 3600 / hours) if hours and known else None,
        bottleneck=next(iter(operators), None) if known else None,
        operators=operators,
    )
