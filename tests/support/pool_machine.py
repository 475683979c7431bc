"""Random histories of a pool, a recipe and a store, by hypothesis. After each run the exports equal those of
a new store over the pool as it is, byte for byte.

    python -m tests.support.pool_machine --sequences 300 --seed 1

tests/test_pool_machine.py runs a few of them.
"""

import argparse
import time
from collections import Counter
from typing import Any

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.support.changing_pool import NAMES, WORDS, ChangingPool
from tests.support.warm import Warm

SHARD = st.sampled_from(NAMES)
WORD = st.sampled_from(WORDS)
CAPTION = st.lists(WORD, min_size=1, max_size=5).map(" ".join)
CAPTIONS = st.lists(CAPTION, min_size=2, max_size=5)
SEED = st.integers(0, 3)
SHARE = st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99])
STEP = st.integers(0, 90)
DONE: Counter[str] = Counter()  # acts of all sequences so far


class PoolMachine(RuleBasedStateMachine):
    """A history. Each rule is one act, or a run that is compared."""

    warm: Warm
    pool: ChangingPool
    sound = True  # no comparison has failed so far

    @initialize(tables=st.booleans(), first=CAPTIONS, second=CAPTIONS, third=CAPTIONS)
    def begin(self, tables: bool, first: Any, second: Any, third: Any) -> None:
        DONE["sequences"] += 1
        self.pool = ChangingPool(self.warm, tables)
        for number, (name, captions) in enumerate(zip(NAMES, (first, second, third), strict=False)):
            self.pool.write(name, captions, number)
        self.compare()

    def teardown(self) -> None:
        if hasattr(self, "pool"):
            try:
                if self.sound:
                    self.compare()
            finally:
                self.pool.close()

    def compare(self) -> None:
        """A run, and the comparison."""
        self.sound = False
        self.pool.run_and_compare()
        self.sound = True

    def several(self) -> bool:
        """Whether the pool has more than one shard."""
        return len(self.pool.shards()) > 1

    def named(self, name: str) -> str:
        """That shard, or another one if it does not exist."""
        shards = self.pool.shards()
        return name if name in shards else shards[0]

    # --- shards -----------------------------------------------------------------------------------

    @rule(name=SHARD, captions=CAPTIONS, number=SEED)
    def write(self, name: str, captions: list[str], number: int) -> None:
        DONE["add" if name not in self.pool.shards() else "overwrite"] += 1
        self.pool.write(name, captions, number)

    @rule(name=SHARD, captions=CAPTIONS, number=SEED)
    def replace(self, name: str, captions: list[str], number: int) -> None:
        DONE["replace"] += 1
        self.pool.replace(self.named(name), captions, number)

    @precondition(several)
    @rule(name=SHARD)
    def remove(self, name: str) -> None:
        DONE["remove"] += 1
        self.pool.remove(self.named(name))

    @rule(name=SHARD, share=SHARE)
    def cut(self, name: str, share: float) -> None:
        DONE["truncate"] += 1
        self.pool.cut(self.named(name), share)

    @rule(name=SHARD)
    def repair(self, name: str) -> None:
        DONE["repair"] += 1
        self.pool.repair(self.named(name))

    @rule(everything=st.booleans(), name=SHARD)
    def touch(self, everything: bool, name: str) -> None:
        DONE["touch"] += 1
        self.pool.touch(self.pool.shards() if everything else [self.named(name)])

    @rule(old=SHARD, new=SHARD)
    def rename(self, old: str, new: str) -> None:
        DONE["rename"] += 1
        self.pool.rename(self.named(old), new)

    @precondition(several)
    @rule()
    def swap(self) -> None:
        DONE["swap"] += 1
        self.pool.swap(*self.pool.shards()[:2])

    @rule(name=SHARD, old=WORD, new=WORD)
    def rewrite(self, name: str, old: str, new: str) -> None:
        DONE["rewrite with the time set back"] += 1
        self.pool.rewrite(self.named(name), old, new)

    # --- the recipe -------------------------------------------------------------------------------

    @rule(least=st.integers(1, 5), share=st.sampled_from([0.3, 0.6, 0.9]))
    def bounds(self, least: int, share: float) -> None:
        DONE["other bounds"] += 1
        self.pool.place.keep["facts.words"] = {"min": least}
        self.pool.place.keep["rarity.score"] = {"top": share, "missing": "keep"}

    @rule(scale=st.sampled_from([None, 1, 2]))
    def operator(self, scale: int | None) -> None:
        DONE["other operator"] += 1
        fields = {"use": "planted.Length", "scale": scale} if scale else None
        self.pool.edit("length", "length.value", fields, {"max": 20})

    @rule(least=st.integers(1, 3))
    def field(self, least: int) -> None:
        DONE["other field"] += 1
        self.pool.place.compute["words"]["minimum_count"] = least

    # --- runs -------------------------------------------------------------------------------------

    @rule()
    def run(self) -> None:
        DONE["run"] += 1
        self.compare()

    @rule()
    def run_again(self) -> None:
        self.run()

    @rule()
    def run_then(self) -> None:  # so that one act in six is a run
        self.run()

    @rule(
        command=st.sampled_from(["run", "run", "run", "keep", "compact"]),
        kind=st.sampled_from(["kill", "killed"]),
        at=STEP,
    )
    def kill(self, command: str, kind: str, at: int) -> None:
        DONE["kill"] += 1
        DONE["kills that hit"] += self.pool.faulty(command, kind, at).returncode == -9

    @rule(at=STEP)
    def disk_full(self, at: int) -> None:
        DONE["disk full"] += 1
        self.pool.faulty("run", "full", at)

    @rule(longest=st.integers(0, 8000))
    def short_files(self, longest: int) -> None:
        DONE["disk full inside a file"] += 1
        self.pool.faulty("run", "short", longest)

    @rule(one=st.integers(1, 4), two=st.integers(1, 4))
    def two_at_once(self, one: int, two: int) -> None:
        DONE["two runs at once"] += 1
        self.pool.together([one, two])

    @rule()
    def compact(self) -> None:
        DONE["compact"] += 1
        self.pool.compact()

    @rule(which=st.integers(0, 60), how=st.sampled_from(["cut", "flipped", "gone"]), share=SHARE)
    def damage(self, which: int, how: str, share: float) -> None:
        DONE["damaged part"] += 1
        self.pool.damage(which, how, share)


def explore(sequences: int, steps: int, number: int = 0, shrink: bool = False) -> None:
    """Try so many histories of at most so many steps each, which follow from the number. `shrink`: look for
    the shortest one that fails."""
    chosen = settings(
        max_examples=sequences,
        stateful_step_count=steps,
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.shrink) if shrink else (Phase.generate,),
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    with Warm() as warm:
        machine = seed(number)(type("Machine", (PoolMachine,), {"warm": warm}))
        run_state_machine_as_test(machine, settings=chosen)


def main() -> None:
    """Print how much was done, and the first history that ends otherwise than it should."""
    parser = argparse.ArgumentParser(description="Random histories of a pool.")
    parser.add_argument("--sequences", type=int, default=300)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shrink", action="store_true", help="look for the shortest history that fails")
    asked = parser.parse_args()
    started = time.perf_counter()
    try:
        explore(asked.sequences, asked.steps, asked.seed, asked.shrink)
    finally:
        for act, count in sorted(DONE.items(), key=lambda item: -item[1]):
            print(f"{count:8,}  {act}")
        print(f"{time.perf_counter() - started:8,.0f}  seconds")


if __name__ == "__main__":
    main()
