"""The poison laboratory: attack a CLIP, see that the backdoor works, and see which detector finds the poison.

    python -m jobs.poison_lab work                      every attack, then the table of reference sizes
    python -m jobs.poison_lab work --attacks patch,warp --scenes 40000 --rate 0.003 --seed 0

For each attack a clean model, kept in `work`, goes on learning from a pool in which `rate` of the scenes carry the
trigger. Measured are the attack's success on clean test scenes, clean retrieval, and each detector on the
embeddings that the poisoned model has for its own pool; then the most suspicious tenth is removed, and the clean
model learns from what is left. Models and results are kept in `work` one by one, so that a run goes on where it was
interrupted, and `jobs/poison_lab/POISON_LAB.md` is written from all that are there.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from jobs.poison_lab import model as models
from jobs.poison_lab import scores
from jobs.poison_lab.attacks import ATTACKS, Pool, plant, stamped
from jobs.poison_lab.report import write

POOL, START, TEST = 1, 2, 3  # seeds of scenes, each added to 1000 * --seed
SIZES, NEIGHBOURS, RATES = (
    (512, 2048, 8192, 0),
    (16, 64, 256),
    (0.0001, 0.001, 0.01),
)  # size 0: the whole pool
TRAPPED, REPEATS = 20_000, 3  # scenes of the table of reference sizes, and choices of the poisons


@dataclass(frozen=True)
class Experiment:
    """What all attacks of a table have in common."""

    scenes: int = 40_000
    clean: int = 20_000
    test: int = 1_000
    rate: float = 0.003
    start: int = 800
    steps: int = 1600
    removed: float = 0.1
    seed: int = 0

    def pool(self, which: int) -> Pool:
        """The scenes to learn from, those of the clean model before, or those to test on."""
        counts = {POOL: self.scenes, START: self.clean, TEST: self.test}
        return models.scenes(1000 * self.seed + which, counts[which])


def started(experiment: Experiment, folder: Path) -> models.Clip:
    """The clean model that every attack begins with, learnt once from scenes of its own."""
    fresh, seed = models.fresh(experiment.seed), experiment.seed
    return _kept(
        folder / "start", lambda: models.learn(fresh, experiment.pool(START), experiment.start, seed)
    )


def poisoned(experiment: Experiment, name: str, pool: Pool, folder: Path) -> models.Clip:
    """The clean model after it has gone on with `pool`."""
    start = started(experiment, folder)
    return _kept(folder / name, lambda: models.learn(start, pool, experiment.steps, experiment.seed))


def _kept(path: Path, learnt: Callable[[], models.Clip]) -> models.Clip:
    path = path.with_suffix(".safetensors")
    if not path.exists():
        learnt().keep(path)
    return models.kept(path)


def measured(clip: models.Clip, name: str, test: Pool, seed: int) -> dict[str, float]:
    """What a model does with the attack's trigger, without, and on clean pairs."""
    share, without = models.success(clip, ATTACKS[name], test, seed)
    return {"success": share, "without": without, "recall": models.recall(clip, test)}


def attack(experiment: Experiment, name: str, folder: Path) -> dict[str, Any]:
    """One line of the table."""
    began, test = time.process_time(), experiment.pool(TEST)
    pool = plant(experiment.pool(POOL), ATTACKS[name], experiment.rate, experiment.seed)
    clip = poisoned(experiment, name, pool, folder)
    images, texts = clip.images(pool.pixels).numpy(), clip.texts(pool.captions).numpy()
    found = {
        (view, detector): (values, scores.figures(values, pool.poisoned))
        for view, detectors in scores.views(images, texts).items()
        for detector, values in detectors.items()
    }
    best = max(found, key=lambda key: (key[0] != "pairs", *found[key][1].values()))
    ranks = np.argsort(-found[best][0], kind="stable")
    kept = np.ones(len(ranks), bool)
    kept[ranks[: round(experiment.removed * len(ranks))]] = False
    again = poisoned(experiment, f"{name}-cleaned", pool.where(kept), folder)
    return {
        "attack": name,
        "experiment": asdict(experiment),
        "poisons": int(pool.poisoned.sum()),
        "poisoned": measured(clip, name, test, experiment.seed),
        "best": best,
        "left": int((pool.poisoned & kept).sum()),
        "cleaned": measured(again, name, test, experiment.seed),
        "detectors": [[*key, figures] for key, (_, figures) in found.items()],
        "cpu_minutes": (time.process_time() - began) / 60,
    }


def trap(experiment: Experiment, name: str, folder: Path) -> dict[str, Any]:
    """SLOF and DAO by reference size, k and poison rate on the model that `name` has poisoned: embeddings of its
    scenes, a share of them with the trigger."""
    clip, pool = models.kept(folder / f"{name}.safetensors"), experiment.pool(POOL)
    pool = pool.where(np.arange(len(pool.captions)) < TRAPPED)
    clean = clip.images(pool.pixels).numpy()
    marked = clip.images(stamped(pool.pixels, ATTACKS[name].triggers[0], experiment.seed)).numpy()
    cells = []
    for rate in RATES:
        drawn = []
        for repeat in range(REPEATS):
            rng = np.random.default_rng([experiment.seed, repeat])
            poisoned = np.zeros(len(clean), bool)
            poisoned[rng.permutation(len(clean))[: max(1, round(rate * len(clean)))]] = True
            images = np.where(poisoned[:, None], marked, clean)
            drawn.append(scores.by_reference(images, poisoned, SIZES, NEIGHBOURS, rng))
        for size, k in drawn[0]:
            areas = np.mean([one[size, k] for one in drawn], axis=0).tolist()
            cells.append({"rate": rate, "size": size, "k": k, "SLOF": areas[0], "DAO": areas[1]})
    return {"attack": name, "scenes": len(clean), "repeats": REPEATS, "cells": cells}


def main() -> None:
    """Run what is asked for, and write the tables of everything in the folder."""
    parser = argparse.ArgumentParser(description="Poison a small CLIP, and see what finds the poison.")
    parser.add_argument("work", type=Path)
    parser.add_argument("--attacks", default=",".join(ATTACKS), help=f"some of {', '.join(ATTACKS)}")
    parser.add_argument(
        "--trap", default="patch", help="the attack for the table of reference sizes; '' for none"
    )
    parser.add_argument("--report", type=Path, default=Path("jobs/poison_lab/POISON_LAB.md"))
    for name, value in asdict(Experiment()).items():
        parser.add_argument(f"--{name}", type=type(value), default=value, help=f"default {value}")
    options = vars(parser.parse_args())
    work, report, chosen, trapped = (options.pop(name) for name in ("work", "report", "attacks", "trap"))
    experiment = Experiment(**options)
    work.mkdir(parents=True, exist_ok=True)
    if once(work / "experiment.json", lambda: asdict(experiment)) != asdict(experiment):
        parser.error(f"{work} holds results of other settings: {work / 'experiment.json'}")
    for name in filter(None, chosen.split(",")):
        once(work / f"{name}.json", partial(attack, experiment, name, work))
    if trapped:
        once(work / "trap.json", lambda: trap(experiment, trapped, work))
    write(work, report, list(ATTACKS))


def once(path: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What the file holds, made and kept where there is none."""
    if not path.exists():
        path.write_bytes(orjson.dumps(make(), option=orjson.OPT_INDENT_2))
    found: dict[str, Any] = orjson.loads(path.read_bytes())
    return found


if __name__ == "__main__":
    main()
