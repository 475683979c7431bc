"""Faults on a simulated cluster of three nodes, in computing and in exporting: what each run came to.

    PYTHONPATH=. python tests/benchmarks/bench_faults.py --runs 2
    PYTHONPATH=. python tests/benchmarks/bench_faults.py --faults "node killed" "collector killed" --seed 7

Prints a line per run, then a table: fault x phase, runs, resubmissions, runs that ended in the undisturbed
bytes after at most one resubmission. Exit status 1 if there is any other. A full disk needs the right to
mount a tmpfs. The moments are drawn from the seed.
"""

import argparse
import os
import platform
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # for tests.support

from jobs.toy.sample_pool import make_pool
from tests.support.cluster_faults import (
    FAULTS,
    LIMITED,
    PHASES,
    SHAPE,
    Bed,
    Outcome,
    cluster,
    try_fault,
    undisturbed,
)
from tests.support.ray_nodes import add


def runs(todo: list[tuple[str, str, int]], top: Path) -> Iterator[Outcome]:
    """All runs, on one cluster as long as it lives and has the limits that a fault needs."""
    expected = undisturbed(top / "plain", top / "pool")
    while todo:
        limited = todo[0][0] in LIMITED
        with cluster(todo[0][0]) as nodes:
            while todo and nodes.head_node is not None and (todo[0][0] in LIMITED) == limited:
                while len(nodes.worker_nodes) < len(SHAPE) - 1:
                    add(nodes, SHAPE[-1])
                fault, phase, number = todo.pop(0)
                bed = Bed(top / "pool", top / f"{fault}-{phase}-{number}".replace(" ", "-"), nodes)
                yield try_fault(fault, phase, number, bed, expected)


def main() -> None:
    """Run them all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faults", nargs="*", default=list(FAULTS), choices=list(FAULTS))
    parser.add_argument("--phases", nargs="*", default=list(PHASES), choices=list(PHASES))
    parser.add_argument("--runs", type=int, default=2, help="of each fault in each phase")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="keep everything there")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        top = args.folder or Path(temporary)
        outcomes = list[Outcome]()
        print(f"{platform.processor() or platform.machine()}; {len(SHAPE)} nodes of 1 CPU", flush=True)
        make_pool(top / "pool", shards=12, per_shard=50, seed=3, image_size=32)
        todo = [(f, p, args.seed + n) for f in args.faults for p in args.phases for n in range(args.runs)]
        todo = [run for run in todo if run[:2] != ("collector killed", "export")]  # there is none then
        for done in runs(todo, top):
            outcomes.append(done)
            said = "good" if done.good else "BAD" if done.struck else "missed"
            print(
                f"{done.fault:18s} {done.phase:8s} {said:6s} exits {done.codes}  equal {done.equal}  "
                f"{done.seconds:5.0f} s  load {os.getloadavg()[0]:.0f}  {done.note}",
                flush=True,
            )
    table = defaultdict[tuple[str, str], list[Outcome]](list)
    for done in outcomes:
        table[done.fault, done.phase].append(done)
    print(f"\n{'fault':18s} {'phase':8s} runs  resubmitted  equal bytes  seconds")
    for (fault, phase), some in table.items():
        again, equal = sum(len(o.codes) > 1 for o in some), sum(o.equal for o in some)
        mean = sum(o.seconds for o in some) / len(some)
        print(f"{fault:18s} {phase:8s} {len(some):4d}  {again:11d}  {equal:11d}  {mean:7.0f}")
    good, missed = sum(o.good for o in outcomes), sum(not o.struck for o in outcomes)
    print(f"{good} of {len(outcomes)} good; {missed} came too late to disturb")
    sys.exit(good + missed < len(outcomes))


if __name__ == "__main__":
    main()
