"""Four runs at once on one store and one export folder, often. Each must do its work or say who holds the
folder; one more run must then leave what a run leaves that was always alone.

    python -m tests.support.four_at_once --rounds 50
"""

import argparse
import random
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from subprocess import CompletedProcess

from tests.support.place import Place, published, same
from tests.support.warm import Warm

RUNS = 4
BOUND = "keep.facts.words.min"
TOLD = re.compile(r"host|pid|process|held", re.IGNORECASE)  # who holds the folder


def made_place(root: Path, warm: Warm) -> Place:
    """A pool of six shards."""
    place = Place(root / "place")
    place.execute = warm.winnow
    for shard in range(6):
        captions = [f"shard {shard} row {row}" + " more" * ((row + shard) % 5) for row in range(10)]
        place.tar(f"{shard}", captions, seed=shard)
    return place


def one_round(place: Place, warm: Warm, rng: random.Random, ends: Counter[str]) -> list[str]:
    """Start the runs within a tenth of a second, of one bound or of several, on an empty store or a finished
    one; returns what was not as it should be."""
    bounds = [rng.choice((1, 4, 5)) for _ in range(RUNS)] if rng.random() < 0.5 else [4] * RUNS
    if rng.random() < 0.7:
        for path in (place.store, place.out):
            shutil.rmtree(path, ignore_errors=True)
    if rng.random() < 0.5:
        place.tar("0", [f"shard 0 row {row}" + " less" * (row % 5) for row in range(10)], rng.randrange(99))
    recipe, runs = place.recipe(), []
    for bound in bounds:
        runs.append(warm.start("run", recipe, "--local", "--set", f"{BOUND}={bound}"))
        time.sleep(rng.uniform(0, 0.1))
    wrong = [problem for run in runs if (problem := _problem(run.wait(), ends))]
    place.keep["facts.words"] = {"min": 4}
    last = place.winnow("run")
    if last.returncode:
        wrong.append(f"the run after it: {last.returncode}: {last.stderr[-2000:]}")
    return wrong + _difference(place)


def _problem(done: CompletedProcess[str], ends: Counter[str]) -> str:
    """What is wrong with the end of a run, if anything is."""
    told = done.returncode == 1 and "Traceback" not in done.stderr and TOLD.search(done.stderr)
    ends["done" if done.returncode == 0 else "told who holds it" if told else "wrong"] += 1
    return "" if done.returncode == 0 or told else f"{done.returncode}: {done.stderr[-2000:]}"


def _difference(place: Place) -> list[str]:
    """How the exports differ from those of a run that was always alone."""
    home = place.folder / "fresh"
    home.mkdir()
    place.winnow("run", home=home)
    expected = published(home / "out")
    shutil.rmtree(home)
    try:
        same(place.exports(), expected)
    except AssertionError as error:
        return [f"exports: {error}"]
    return []


def main() -> int:
    """Print how the runs ended, and what was wrong; 1 if anything was."""
    parser = argparse.ArgumentParser(description="Four runs at once, often.")
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    rng, started, ends = random.Random(asked.seed), time.perf_counter(), Counter[str]()
    root, wrong = Path(tempfile.mkdtemp(prefix="four_at_once")), list[str]()
    with Warm() as warm:
        place = made_place(root, warm)
        for number in range(asked.rounds):
            found = one_round(place, warm, rng, ends)
            wrong += [f"round {number}: {line}" for line in found]
    print(f"{asked.rounds} rounds of {RUNS} runs in {time.perf_counter() - started:,.0f} s: {dict(ends)}")
    print(f"not as it should be: {len(wrong)}", *wrong, sep="\n  ")
    shutil.rmtree(root)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
