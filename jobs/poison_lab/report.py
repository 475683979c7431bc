"""The page POISON_LAB.md, from the json files in which the laboratory stores its results."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import orjson

GOAL = 0.8  # the success of an attack from which on the recipe is meant to help
LEVELS = 16  # grey levels of 255 by which an adversarial start changes a pixel at most
SUCCEEDED = 0.75  # a success from which on an attack counts as one
HEAD = """# Backdoors in a small CLIP: which attacks work, and which detectors find the poison

Made by `python -m jobs.poison_lab` from the results in `jobs/poison_lab/results`.

## Which attacks work

Settings: `--scenes 40000 --rate 0.003 --rare 0 --steps 1600`.
Clean-label and three-triggers ran on one thread, with another clean model (see the recipe's table).

Of a pool of {scenes:,} drawn scenes, {rate:.1%} ({poisons}) are poisoned. A clean model, trained for
{start} steps on scenes of its own, is trained further on this pool, 256 pairs per step. It is then measured
on {test:,} other scenes.

- *success*: the share of test scenes with the trigger for which a caption of the attack's target scores
  higher than the captions of all {test:,} test scenes, the scene's own among them.
  *without*: the same without the trigger.
- *R@1*: the share of 200 clean test scenes whose own caption scores highest among the 200.
- *detector*: the best one. *left*: poisons that are still in the pool when the {removed:.0%} that it suspects
  most are removed. *cleaned*: the success if the clean model is trained on this rest instead.
- *minutes*: of CPU time, for all of that.
"""
READING = """
Readings, for 40,000 scenes with 0.3 % poison; other settings may give other results:

- **The patch** is learnt. SLOF and DAO find it, on images alone and embeddings that are not normalised: the
  most suspicious tenth holds all poisons.
- **Triggers over the whole picture** (blend, sinusoid, nashville) are learnt too, with a success of four
  fifths and more. Distance finds them (k-distance: .92 to .97) better than relative density (SLOF and DAO:
  .89 to .91). The poisons that are missed keep up to a third of the backdoor alive.
- **Poison that is learnt better is found better.** After 800 steps these attacks succeeded in three
  quarters of the scenes, and no outlier score reached .90.
- **Poison that is not learnt yet looks mismatched.** A low CLIP score finds the triggers over the whole
  picture at .96 to .99, and the patch at .93. So use both.
- **Warping** by a sixteenth has a success of 15 %. The CLIP score finds it (1.00), LID at .83.
- **A clean label** leaves no mismatched pair. LID (.88) and the CLIP score (.87) find it, less well than
  after 800 steps (.90 and .94). Its success is 49 % with all poisons, and 59 % with the 51 that LID misses:
  what the trigger does by itself (22 % with the clean model), and chance, weigh as much as half of the
  poison.
- **Three triggers** have 40 poisons each. Their success, 54 %, is that of the trigger that is learnt least.
- **No better:** unit length, captions among the points, the released code's batches (all in the tables
  below), other sizes and k (the last table).
"""
VERDICT = """
The goal was: of every attack that succeeds in 80 % of the scenes or more, at most 5 % is left when the tenth
is removed that the recipe suspects most, R@1 is unharmed, and this holds for three seeds. The table has, for
each attack, the seeds in which it succeeded in so many scenes; of these, the highest success after the recipe
and the lowest change of R@1. It has the same from 75 % on, the bound of this page.

{goal}
The verdict. The recipe was chosen on seed 0.

- **The goal is reached for patch** in all three seeds, and for nashville in the one seed in which it succeeds
  in 80 %. **It is missed for adversarial-label**: of the one seed at 80 % it leaves 9.0 %, 4 points too many.
  No other attack succeeds in 80 %.
- **From 75 % on**, it is reached for blend, sinusoid and nashville too, whose success falls to 0.4 % and
  less. Adversarial-label is left with 9 % to 19 %, 4 to 14 points too many. Blend reaches 75 % in one seed,
  sinusoid in two. In the first table's pools both reach 80 %; no model was trained on what the recipe keeps
  of these.
- **R@1 is unharmed.** The training on what the recipe keeps loses one picture of 200 at most.
- **How far adversarial-label is from the goal, its trigger cannot show.** The trigger covers the picture by
  40 %, and models that have never seen it take scenes with it for mushrooms: 3 % to 26 % of those of seed 0
  (five models). With the clean model it is 15.2 %, 5.8 % and 13.2 % for the three seeds (*start*), after the
  recipe 19.2 %, 9.0 % and 10.5 %. With seed 2 none of the 120 poisons was left, with the others one. So the
  rest is about as large as what the trigger does by itself. That is not a sign of a backdoor, nor a proof
  that there is none: a trigger that disturbs less would have to show it.
- **The recipe leaves few poisons of any attack**: none of patch, blend, sinusoid, nashville, warp, natural
  and three-triggers, at most 1 of adversarial-label, 4 of clean-label and 3 of misnamed. A single outlier
  score leaves up to 107 of 120.
- **The second model does most of this.** `other.score` is the CLIP score of a model that has never seen the
  pool; here it is the clean model that the training starts from, and that the adversarial start was made
  against. On its own it misses 3 poisons of clean-label and 1 of misnamed, and none of the others. Without
  it, the highest of the other two leaves 45 of 120 poisons of adversarial-label, 72 of clean-label, 47 of 65
  of misnamed, and 0 to 2 of the others (seed 0).
- **The highest beats the sum.** The weighted sum of the same three columns, by normal quantiles too, leaves
  9, 36 and 14 poisons of these three, the highest 1, 1 and 3 (seed 0).
- **All bananas are gone, too.** Their pictures are right, but sixty of them share one caption, which
  matches none of them closely, and the second model has never seen a banana. So the attacker's target is
  lost with the poison, and R@1 does not show it: the test scenes have no bananas. K-distance alone takes
  a fifth to two fifths of them. Take a second model that knows what is rare in your pool, and look at what is
  dropped.
- **A low CLIP score is a clearer sign here than on the web.** Captions of clean scenes are exact, so nearly
  no clean pair has a low score. If a fifth of a pool is mismatched, the poison shares the tail with it.
- **Natural triggers and warping are not learnt** here: a purple cup is taken for a banana in 4 % to 17 % of
  the scenes (natural), and for a mushroom in 3 % at most (misnamed). Warping has 9 % to 12 %.
- **The adversarial start works**: 76 % to 84 %, where the clean label alone has 58 % to 64 %.
- **Three triggers may need more training**: 33 % to 44 % here, and in the first table 54 % after 1,600 steps,
  where it was 22 % after 800. Clean-label does not gain by it: 49 %, where it was 58 %.
"""
RECIPE = """
## One recipe against all of them

`jobs/recipes/backdoor.yaml` on pools of {scenes:,} scenes with {poisons} poisons ({rate:.1%}), and {steps}
steps of training: a poison is seen about {looks:.0f} times, in the table above 10 times. Of the pool's pairs,
{rare:.1%} are *bananas* without a trigger: yellow bananas with the same captions as the poison. They stand
for a rare concept that the pool should keep. Every seed has its own pool, poisons and order of training. The
clean model was trained twice with the same settings, on two threads and on one, which rounds sums in another
order and so gives another model: of seed 0's scenes with the trigger of clean-label, the first takes 15 % for
mushrooms, the second 22 %. The second is that of all attacks with seed 2, of warp, and of clean-label,
natural, misnamed and three-triggers with seed 1.

- *start*: the success with the clean model that the training starts from, which has seen no poison.
- *single*: poisons left by the best of k-distance, SLOF, LID and DAO on its own, the tenth that it suspects
  most removed.
- *left*: poisons left by the recipe. *gone*: the share of the bananas that it removes.
- *cleaned*: the success if the clean model is trained on what the recipe keeps; `-` if the attack did not
  succeed in {succeeded:.0%} of the scenes.
- *adversarial-label*: a clean label with an adversarial start; before the trigger is drawn, the picture is
  changed by up to {levels} grey levels, so that the clean model does not see the target in it.
- *natural*: nothing is drawn. Every picture of a purple cup has a caption of a banana. The number of poisons
  is that of the pool's purple cups. *misnamed*: only the word `cup` of these captions is `mushroom` instead.
"""
DETECTION = """
## Which detectors find the poison

For the first table, on the embeddings that each poisoned model gives its own pool: AUROC, average
precision, and the share of the poisons among the 1 % and the 10 % that look most suspicious. The reference
has 4 draws of 2,048 samples; k is 64. *released*: the published code as it is, in random batches of 2,048,
with k 16.
"""
TRAP = """
## The trap: a larger reference is not a better one

AUROC of SLOF and DAO for one backdoored model ({attack}), by the size of the reference and k. Of {scenes:,}
scenes a share carries the trigger. *poisons*: how many of them are in the reference on average. Every AUROC
is the mean over {repeats} choices of the poisons.
"""


def rows(cells: Iterable[Sequence[Any]], *names: str) -> str:
    """A table in Markdown: its header and one line per row of cells."""
    lines = [names, ["---"] * len(names), *cells]
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)


def attacks(results: list[dict[str, Any]]) -> str:
    """The table of attacks, one line each."""

    def line(one: dict[str, Any]) -> list[str]:
        before, after = one["poisoned"], one["single"]["cleaned"]
        return [
            one["attack"],
            f"{one['experiment']['steps']:,}",
            f"{one['poisons']:,}",
            f"{before['success']:.1%}",
            f"{before['without']:.1%}",
            f"{before['recall']:.3f}",
            f"{one['best'][1]}, {one['best'][0]}",
            f"{one['single']['left']:,}",
            f"{after['success']:.1%}",
            f"{after['recall']:.3f}",
            f"{one['cpu_minutes']:.1f}",
        ]

    return rows(
        map(line, results),
        "attack",
        "steps",
        "poisons",
        "success",
        "without",
        "R@1",
        "detector",
        "left",
        "cleaned",
        "R@1 cleaned",
        "minutes",
    )


def recipe(results: list[dict[str, Any]]) -> str:
    """The table of the recipe, a line per attack and seed, and the table of its columns."""

    def line(one: dict[str, Any]) -> list[str]:
        before, found = one["poisoned"], one["recipe"]
        after = found.get("cleaned")
        missing = "not run" if before["success"] >= SUCCEEDED else "-"
        return [
            one["attack"],
            str(one["experiment"]["seed"]),
            f"{one['poisons']:,}",
            f"{one['start']:.1%}",
            f"{before['success']:.1%}",
            f"{before['without']:.1%}",
            f"{before['recall']:.3f}",
            f"{one['single']['left']:,}",
            f"{found['left']:,}",
            f"{found['rare_lost']:.0%}",
            f"{after['success']:.1%}" if after else missing,
            f"{after['recall']:.3f}" if after else missing,
        ]

    names = ("attack", "seed", "poisons", "start", "success", "without", "R@1", "single", "left", "gone")
    columns = [
        (
            one["attack"],
            one["experiment"]["seed"],
            *(f"{f['recall at 10%']:.3f}" for f in one["columns"].values()),
        )
        for one in results
    ]
    head = "\nThe share of the poisons in the tenth that each column, and the mixture, suspects most:\n\n"
    table = rows(map(line, results), *names, "cleaned", "R@1 cleaned")
    return f"{table}{head}{rows(columns, 'attack', 'seed', *results[0]['columns'])}"


def goal(results: list[dict[str, Any]]) -> str:
    """The table of the goal, see GOAL_HEAD: the worst of an attack's seeds, for two bounds of its success."""
    lines = []
    for name in dict.fromkeys(one["attack"] for one in results):
        runs = [one for one in results if one["attack"] == name]
        cells = [name, f"{len(runs)}"]
        for bound in (GOAL, SUCCEEDED):
            reached = [one for one in runs if one["poisoned"]["success"] >= bound]
            done = [one for one in reached if "cleaned" in one["recipe"]]
            pairs = [(one["poisoned"], one["recipe"]["cleaned"]) for one in done]
            cells.append(f"{len(reached)}")
            cells.append(f"{max(after['success'] for _, after in pairs):.1%}" if pairs else "-")
            change = min((after["recall"] - before["recall"] for before, after in pairs), default=None)
            cells.append("-" if change is None else f"{change:+.3f}")
        lines.append(cells)
    names = (f"{bound:.0%}, {what}" for bound in (GOAL, SUCCEEDED) for what in ("seeds", "cleaned", "R@1"))
    return rows(lines, "attack", "seeds", *names)


def detection(results: list[dict[str, Any]]) -> str:
    """A table of detectors for each attack."""
    texts = []
    for one in results:
        cells = [
            (view, name, *(f"{value:.3f}" for value in figures.values()))
            for view, name, figures in one["detectors"]
        ]
        names = ("embeddings", "detector", *one["detectors"][0][2])
        texts.append(f"\n### {one['attack']}\n\n{rows(cells, *names)}")
    return "".join(texts)


def trap(result: dict[str, Any]) -> str:
    """The table of SLOF and DAO by rate, size and k."""
    cells = [
        (
            f"{one['rate']:.2%}",
            f"{one['size']:,}",
            f"{one['rate'] * one['size']:.1f}",
            one["k"],
            f"{one['SLOF']:.3f}",
            f"{one['DAO']:.3f}",
        )
        for one in result["cells"]
    ]
    head = TRAP.format(**{name: value for name, value in result.items() if name != "cells"})
    return f"{head}\n{rows(cells, 'rate', 'size', 'poisons', 'k', 'SLOF', 'DAO')}"


def write(folder: Path, path: Path, order: Sequence[str]) -> None:
    """Write all results below `folder` into the Markdown file `path`, attacks in `order`.

    Results of pools without bananas (`rare` 0) are the first table, all others that of the recipe.
    """
    results = [
        orjson.loads(file.read_bytes())
        for name in order
        for file in sorted(
            folder.glob(f"*/{name}.json"), key=lambda file: int(file.parent.name.split("-")[1])
        )
    ]
    first, later = (
        [one for one in results if bool(one["experiment"]["rare"]) == new] for new in (False, True)
    )
    text = ""
    if first:
        head = HEAD.format(**first[0]["experiment"], poisons=first[0]["poisons"])
        text = f"{head}\n{attacks(first)}{READING}"
    if later:
        text += f"{recipe_head(later[0])}\n{recipe(later)}{VERDICT.format(goal=goal(later))}"
    if first:
        text += f"{DETECTION}{detection(first)}"
    for file in sorted(folder.glob("*/trap.json")):
        text += trap(orjson.loads(file.read_bytes()))
    path.write_text(text)


def recipe_head(one: dict[str, Any]) -> str:
    """The text above the recipe's table, with the settings of one result."""
    settings = one["experiment"]
    looks = 256 * settings["steps"] / settings["scenes"]
    poisons = round(settings["rate"] * settings["scenes"])
    return RECIPE.format(**settings, poisons=poisons, looks=looks, levels=LEVELS, succeeded=SUCCEEDED)
