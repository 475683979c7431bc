"""Which part of a run's passes bounded its speed, and the setting that would move it.

    found = bottleneck(log)
    found.part, found.busy     -> "clip", 0.93: it was at work 93 % of the seconds of the passes

Reading, decoding and the operators of a pass go on side by side, so a pass takes as long as its busiest part.
`busy` is 1 for a part that never waited for another one. If no part comes near to that, the passes were too
short for their start (imports, models, workers), or storage was slow to take results.
"""

from dataclasses import dataclass

from pipeline.plan.passes import runs_a_network
from pipeline.run.log import RunLog
from pipeline.run.stage.runner import AHEAD

READ, DECODE = "read", "decode"


@dataclass(frozen=True)
class Bottleneck:
    """The busiest part of the passes of Scores.

    part     an operator, `read` (storage and tars) or `decode`
    busy     share of `seconds` in which its workers were at work, in [0, 1]
    seconds  of these passes
    advice   settings that would make this part faster
    start    seconds of these passes before the first sample was worked on: imports, models, workers
    """

    part: str
    busy: float
    seconds: float
    advice: str
    start: float = 0.0


def bottleneck(log: RunLog) -> Bottleneck | None:
    """The busiest part of a run; None if it had no pass of Scores."""
    seconds = log.pass_seconds
    shares = {part: min(1.0, spent / _places(log, part) / seconds) for part, spent in log.pass_work.items()}
    if not shares:
        return None
    part = max(shares, key=lambda name: shares[name])
    start = round(min(log.start_seconds, seconds), 3)
    return Bottleneck(part, round(shares[part], 3), round(seconds, 3), _advice(log, part), start)


def _places(log: RunLog, part: str) -> int:
    """How many workers, or threads of one, do the part side by side."""
    pools = {name: count for name, count in log.workers.items() if name != READ}
    if part == DECODE:  # in the workers of the image operators: the largest pool
        return (1 + AHEAD) * max(pools.values(), default=1)
    return log.workers.get(part, 1)


def _advice(log: RunLog, part: str) -> str:
    """What to set, in a few words."""
    if part == READ:
        return "keep the pool on faster storage" if not log.workers else "keep the pool nearer, or add CPUs"
    if part == DECODE:
        return "preprocess: fast, or more CPUs"
    resources = log.session.recipe.resources(part)
    operator = log.session.recipe.operator(part)
    uses_gpu = runs_a_network(operator)
    if resources.gpus and uses_gpu:
        return f"more GPUs, or run.{part}.batch_size"
    if uses_gpu:
        return f"a GPU (run.{part}.gpus), or more CPUs"
    return "more CPUs" if log.workers else "more CPUs, or Ray (without --local)"
