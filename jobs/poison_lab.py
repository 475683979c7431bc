"""The poison laboratory: attack a CLIP, see that the backdoor works, and see which detector finds the poison.

    python -m jobs.poison_lab work                      every attack, then the table of reference sizes
    python -m jobs.poison_lab work --attacks patch,warp --scenes 30000 --rate 0.003 --seed 0

For each attack a clean model, kept in `work`, goes on learning from a pool in which `rate` of the scenes carry the
trigger. Measured are the attack's success on clean test scenes, clean retrieval, and each detector on the
embeddings that the poisoned model has for its own pool; then the most suspicious tenth is removed, and the clean
model learns from what is left. Results are kept in `work` one by one, and `jobs/POISON_LAB.md` is written from all
that are there.
"""

import argparse
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from jobs import poison_model as models
from jobs import poison_scores
from jobs.poison import ATTACKS, Pool, plant, stamped
from jobs.poison_report import write

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

    scenes: int = 30_000
    clean: int = 20_000
    test: int = 1_000
    rate: float = 0.003
    start: int = 800
    steps: int = 500
    removed: float = 0.1
    seed: int = 0

    def pool(self, which: int) -> Pool:
        """The scenes to learn from, those of the clean model before, or those to test on."""
        counts = {POOL: self.scenes, START: self.clean, TEST: self.test}
        return models.scenes(1000 * self.seed + which, counts[which])


def started(experiment: Experiment, folder: Path) -> models.Clip:
    """The clean model that every attack begins with, learnt once from scenes of its own."""
    path = folder / f"start-{experiment.seed}.safetensors"
    if not path.exists():
        fresh, pool = models.fresh(experiment.seed), experiment.pool(START)
        models.learn(fresh, pool, experiment.start, experiment.seed).keep(path)
    return models.kept(path)


def measured(clip: models.Clip, name: str, test: Pool, seed: int) -> dict[str, float]:
    """What a model does with the attack's trigger, without, and on clean pairs."""
    share, without = models.success(clip, ATTACKS[name], test, seed)
    return {"success": share, "without": without, "recall": models.recall(clip, test)}


def attack(experiment: Experiment, name: str, folder: Path) -> dict[str, Any]:
    """One line of the table, kept in `folder` as json, the poisoned model's embeddings beside it."""
    began, test = time.process_time(), experiment.pool(TEST)
    pool = plant(experiment.pool(POOL), ATTACKS[name], experiment.rate, experiment.seed)
    clip = models.learn(started(experiment, folder), pool, experiment.steps, experiment.seed)
    images, texts = clip.images(pool.pixels).numpy(), clip.texts(pool.captions).numpy()
    clip.keep(folder / f"{name}.safetensors")
    found = {
        (view, detector): (values, poison_scores.figures(values, pool.poisoned))
        for view, detectors in poison_scores.table(images, texts, pool.poisoned).items()
        for detector, values in detectors.items()
    }
    best = max(found, key=lambda key: (found[key][1]["recall at 10%"], found[key][1]["AUROC"]))
    ranks = np.argsort(-found[best][0], kind="stable")
    kept = np.ones(len(ranks), bool)
    kept[ranks[: round(experiment.removed * len(ranks))]] = False
    again = models.learn(started(experiment, folder), pool.where(kept), experiment.steps, experiment.seed)
    line = {
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
    (folder / f"{name}.json").write_bytes(orjson.dumps(line, option=orjson.OPT_INDENT_2))
    return line


def trap(experiment: Experiment, name: str, folder: Path) -> dict[str, Any]:
    """SLOF and DAO by reference size, k and poison rate on the model that `name` has poisoned: embeddings of its
    scenes, a share of them with the trigger. Kept in `folder`."""
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
            drawn.append(poison_scores.by_reference(images, poisoned, SIZES, NEIGHBOURS, rng))
        for size, k in drawn[0]:
            areas = np.mean([one[size, k] for one in drawn], axis=0).tolist()
            cells.append({"rate": rate, "size": size, "k": k, "SLOF": areas[0], "DAO": areas[1]})
    found = {"attack": name, "scenes": len(clean), "repeats": REPEATS, "cells": cells}
    (folder / "trap.json").write_bytes(orjson.dumps(found, option=orjson.OPT_INDENT_2))
    return found


def main() -> None:
    """Run what is asked for, and write the tables of everything in the folder."""
    parser = argparse.ArgumentParser(description="Poison a small CLIP, and see what finds the poison.")
    parser.add_argument("work", type=Path)
    parser.add_argument("--attacks", default=",".join(ATTACKS), help=f"some of {', '.join(ATTACKS)}")
    parser.add_argument(
        "--trap", default="patch", help="the attack for the table of reference sizes; '' for none"
    )
    parser.add_argument("--report", type=Path, default=Path("jobs/POISON_LAB.md"))
    for name, value in asdict(Experiment()).items():
        parser.add_argument(f"--{name}", type=type(value), default=value, help=f"default {value}")
    options = vars(parser.parse_args())
    work, report, chosen, trapped = (options.pop(name) for name in ("work", "report", "attacks", "trap"))
    experiment = Experiment(**options)
    work.mkdir(parents=True, exist_ok=True)
    for name in filter(None, chosen.split(",")):
        print(orjson.dumps(attack(experiment, name, work), option=orjson.OPT_INDENT_2).decode(), flush=True)
    if trapped:
        trap(experiment, trapped, work)
    write(work, report, list(ATTACKS))


if __name__ == "__main__":
    main()
