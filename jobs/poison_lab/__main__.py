"""The poison laboratory: backdoor a CLIP, and measure which detectors find the poison.

    python -m jobs.poison_lab work --seed 0             every attack that has no result yet
    python -m jobs.poison_lab work --seed 1 --attacks patch,natural
    python -m jobs.poison_lab work --scenes 40000 --rate 0.003 --rare 0 --steps 1600 --trap patch

For each attack
    1. a clean model is trained further on a pool in which a share `rate` of the scenes is poisoned;
    2. the attack's success on test scenes and the retrieval of clean ones are measured;
    3. each detector scores the embeddings that the poisoned model gives its own pool, and so does the recipe
       `jobs/recipes/backdoor.yaml`;
    4. the tenth that the recipe suspects most is removed, and the clean model is trained on the rest instead.
Models are stored in the folder `work`, so a run that was stopped continues. The same number of threads
(OMP_NUM_THREADS) gives the same models; with another number sums are rounded in another order. Results are in
`jobs/poison_lab/results/SCENES-SEED/ATTACK.json` and belong to the repository: what is there is not run
again. `jobs/poison_lab/POISON_LAB.md` is written from all of them.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from jobs.poison_lab import model as models
from jobs.poison_lab import scores
from jobs.poison_lab.attacks import ATTACKS, RARE, Pool, plant, stamped
from jobs.poison_lab.report import SUCCEEDED, write

RESULTS = Path(__file__).parent / "results"
POOL, START, TEST = 1, 2, 3  # seeds of three sets of scenes, each added to 1000 * --seed
# The table of reference sizes:
SIZES = (512, 2048, 8192, 0)  # samples in the reference; 0 takes the whole pool
NEIGHBOURS = (16, 64, 256)  # k
RATES = (0.0001, 0.001, 0.01)  # share of poisons
TRAPPED = 20_000  # scenes
REPEATS = 3  # choices of the poisons


@dataclass(frozen=True)
class Experiment:
    """Settings that all attacks of a table share.

    scenes, clean, test     scenes of the poisoned pool, of the clean model's training, and for measuring
    rate, rare              shares of `scenes` that are poisoned, and that are bananas without a trigger
    start, steps            training steps of the clean model, and on the poisoned pool
    removed                 share of the pool that is removed, the most suspicious first
    """

    scenes: int = 10_000
    clean: int = 20_000
    test: int = 1_000
    rate: float = 0.012
    rare: float = 0.012
    start: int = 800
    steps: int = 600
    removed: float = 0.1
    seed: int = 0

    def pool(self, which: int) -> Pool:
        """The scenes of the pool to poison (POOL), of the clean model (START), or to test on (TEST)."""
        counts = {POOL: self.scenes, START: self.clean, TEST: self.test}
        rare = round(self.rare * self.scenes) if which == POOL else 0
        return models.scenes(1000 * self.seed + which, counts[which], rare)


def started(experiment: Experiment, folder: Path) -> models.Clip:
    """The clean model that every attack starts from, trained once on scenes of its own; one for all seeds."""
    pool = replace(experiment, seed=0).pool(START)
    return _stored(
        folder.parent / "start", lambda: models.learn(models.untrained(0), pool, experiment.start, 0)
    )


def planted(experiment: Experiment, name: str, folder: Path) -> Pool:
    """The pool of the attack `name`. Its attacker has the clean model."""
    weaken = partial(models.weakened, started(experiment, folder)) if ATTACKS[name].adversarial else None
    return plant(experiment.pool(POOL), ATTACKS[name], experiment.rate, experiment.seed, weaken)


def poisoned(experiment: Experiment, name: str, pool: Pool, folder: Path) -> models.Clip:
    """The clean model after it was trained further on `pool`."""
    start = started(experiment, folder)
    return _stored(folder / name, lambda: models.learn(start, pool, experiment.steps, experiment.seed))


def _stored(path: Path, learn: Callable[[], models.Clip]) -> models.Clip:
    """The model stored at a path, trained and stored there first if there is none."""
    path = path.with_suffix(".safetensors")
    if not path.exists():
        learn().save(path)
    return models.load(path)


def measured(clip: models.Clip, name: str, test: Pool, seed: int) -> dict[str, float]:
    """The attack's success with its trigger and without, and recall on clean pairs."""
    share, without = models.success(clip, ATTACKS[name], test, seed)
    return {"success": share, "without": without, "recall": models.recall(clip, test)}


def attack(
    experiment: Experiment, name: str, folder: Path, again: bool = True, single: bool = False
) -> dict[str, Any]:
    """Run one attack: train, measure, remove what looks suspicious, train again, measure again.

    If the attack succeeds, and with `again`, a second model is trained on what the recipe keeps. With
    `single`, every detector is measured, and a third model is trained on what the best one keeps.
    """
    began, test = time.process_time(), experiment.pool(TEST)
    pool = planted(experiment, name, folder)
    clip = poisoned(experiment, name, pool, folder)
    images, texts = clip.images(pool.pixels).numpy(), clip.texts(pool.captions).numpy()
    views = scores.views(images, texts) if single else {"images": scores.local(images)}
    scored = {
        (view, detector): (values, scores.figures(values, pool.poisoned))
        for view, detectors in views.items()
        for detector, values in detectors.items()
    }
    best = max(scored, key=lambda key: (key[0] != "pairs", *scored[key][1].values()))
    ranks = np.argsort(-scored[best][0], kind="stable")
    alone = np.ones(len(ranks), bool)
    alone[ranks[: round(experiment.removed * len(ranks))]] = False
    other = started(experiment, folder)
    others = (other.images(pool.pixels).numpy(), other.texts(pool.captions).numpy())
    columns = scores.by_recipe(scores.RECIPE, {"clip": (images, texts), "other": others})
    mixed = scores.suspicion(scores.RECIPE, columns)
    before = measured(clip, name, test, experiment.seed)
    kept = {"single": alone, "recipe": columns["keep"].to_numpy()}
    ways = {way: removed(pool, rows) for way, rows in kept.items()}
    for way, wanted in (("single", single), ("recipe", again and before["success"] >= SUCCEEDED)):
        if wanted:
            cleaned = poisoned(experiment, f"{name}-{way}", pool.where(kept[way]), folder)
            ways[way]["cleaned"] = measured(cleaned, name, test, experiment.seed)
    return {
        "attack": name,
        "experiment": asdict(experiment),
        "poisons": int(pool.poisoned.sum()),
        "start": measured(other, name, test, experiment.seed)["success"],
        "poisoned": before,
        "best": best,
        **ways,
        "columns": {column: scores.figures(values, pool.poisoned) for column, values in mixed.items()},
        "detectors": [[*key, figures] for key, (_, figures) in scored.items()],
        "cpu_minutes": (time.process_time() - began) / 60,
    }


def removed(pool: Pool, kept: np.ndarray) -> dict[str, Any]:
    """What the (n,) bool rows `kept` leave: how many poisons, and which shares of the pool and of its rare
    pairs are gone."""
    rare = pool.trigger == RARE
    return {
        "left": int((pool.poisoned & kept).sum()),
        "removed": float(1 - kept.mean()),
        "rare_lost": float((rare & ~kept).sum() / max(1, rare.sum())),
    }


def trap(experiment: Experiment, name: str, folder: Path) -> dict[str, Any]:
    """AUROC of SLOF and DAO by reference size, k and poison rate, for the model of the attack `name`.

    The scenes are the pool's, of which a share gets the trigger.
    """
    clip, pool = models.load(folder / f"{name}.safetensors"), experiment.pool(POOL)
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
    """Run the attacks that the command line names, and write the page from all results there are."""
    parser = argparse.ArgumentParser(
        description="Poison a small CLIP, and see which detectors find the poison."
    )
    parser.add_argument("work", type=Path, help="folder for models; a stopped run continues there")
    parser.add_argument(
        "--attacks", default=",".join(ATTACKS), help=f"any of {', '.join(ATTACKS)}; default all"
    )
    parser.add_argument("--trap", default="", help="attack for the table of reference sizes; default none")
    parser.add_argument(
        "--single", action="store_true", help="also every detector, and a training on what the best one keeps"
    )
    parser.add_argument(
        "--once", action="store_true", help="do not train again on what the recipe keeps; a later run does"
    )
    parser.add_argument(
        "--results", type=Path, default=RESULTS, help="folder for results; what it holds is not run again"
    )
    parser.add_argument(
        "--report", type=Path, default=Path("jobs/poison_lab/POISON_LAB.md"), help="page to write"
    )
    for name, value in asdict(Experiment()).items():
        parser.add_argument(f"--{name}", type=type(value), default=value, help=f"default {value}")
    options = vars(parser.parse_args())
    names = ("work", "report", "results", "attacks", "trap", "single", "once")
    work, report, results, chosen, trapped, single, once = (options.pop(name) for name in names)
    experiment = Experiment(**options)
    place = f"{experiment.scenes}-{experiment.seed}"
    learnt, found = work / place, results / place
    for folder in (learnt, found):
        folder.mkdir(parents=True, exist_ok=True)
    settings = learnt / "experiment.json"
    if stored(settings, lambda: asdict(experiment)) != asdict(experiment):
        parser.error(f"{learnt} has models of other settings ({settings}); name another folder")
    for name in filter(None, chosen.split(",")):
        path = found / f"{name}.json"
        make = partial(attack, experiment, name, learnt, not once, single)
        if unfinished(stored(path, make)) and not once:
            write_json(path, make())
    if trapped:
        stored(found / "trap.json", lambda: trap(experiment, trapped, learnt))
    write(results, report, list(ATTACKS))


def unfinished(result: dict[str, Any]) -> bool:
    """Whether a result of `--once` still lacks the training on what the recipe keeps."""
    return result["poisoned"]["success"] >= SUCCEEDED and "cleaned" not in result.get(
        "recipe", {"cleaned": {}}
    )


def write_json(path: Path, result: dict[str, Any]) -> None:
    """Write a result, indented."""
    path.write_bytes(orjson.dumps(result, option=orjson.OPT_INDENT_2) + b"\n")


def stored(path: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The result in a json file, made and stored there first if there is none."""
    if not path.exists():
        write_json(path, make())
    result: dict[str, Any] = orjson.loads(path.read_bytes())
    return result


if __name__ == "__main__":
    main()
