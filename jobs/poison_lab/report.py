"""The laboratory's results as tables in Markdown, from the json that it keeps."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import orjson

HEAD = """# What the poison laboratory found

Made by `python -m jobs.poison_lab work --seed {seed}`, what has 800 steps with `--steps 800`. Every attack: {scenes:,}
drawn scenes of which {rate:.1%} are poisoned ({poisons}); a clean model ({start} steps on scenes of its own) goes on
learning from them for so many steps of 256. Measured on {test:,} other scenes.

**Backdoored?** Success: the share of test scenes, trigger added, for which a caption of the target comes before the
captions of all {test:,} scenes, the scene's own among them; beside it the same without the trigger. R@1: own caption
first, of 200. *Cleaned*: the clean model again, on what is left without the {removed:.0%} that the best detector
suspects most.
"""
READING = """
**What the defaults say** (40,000 scenes, 0.3%; other settings may say something else). The patch is learnt, and SLOF
and DAO find it, on features that are not normalised, images alone: with the most suspicious tenth all poisons are gone.
Triggers that lie over the whole picture (blend, sinusoid, nashville) are learnt too, by four fifths and more. Distance
tells these (k-distance: .92 to .97) better than relative density (SLOF and DAO: .89 to .91), and those that are missed
keep up to a third of the backdoor alive. What is learnt better is found better: after 800 steps the same attacks
succeeded in three quarters of the scenes, and no outlier score reached .90. A pair that is not learnt yet looks
mismatched: a low CLIP score finds these at .96 to .99, the patch at .93. Use both. Warping by a sixteenth is learnt by
15 % of the scenes; the CLIP score finds it (1.00), LID at .83. A clean label leaves no odd pair behind: LID (.90) and
the CLIP score (.94) see it. Of three triggers, 40 poisons each, the least learnt counts. Tried besides: unit length,
captions among the points, the released batches (all below), other sizes and k (the trap): no better.
"""
DETECTION = """
**Found?** On the embeddings that each poisoned model has for its own pool: AUROC, average precision, and the share
of the poisons among the 1 % and the 10 % that look most suspicious. Reference 2,048 x 4 draws, k 64.
*released*: the published code as it is, in random batches of 2,048, k 16.
"""
TRAP = """
**The trap.** AUROC of SLOF / DAO for one backdoored model ({attack}): {scenes:,} scenes, of which a share carries the
trigger, by the size of the reference and k. *poisons*: how many of them the reference holds on average.
Mean over {repeats} choices of the poisons.
"""


def rows(cells: Iterable[Sequence[Any]], *names: str) -> str:
    """A table."""
    lines = [names, ["---"] * len(names), *cells]
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)


def attacks(found: list[dict[str, Any]]) -> str:
    """One line for each attack."""

    def line(one: dict[str, Any]) -> list[str]:
        before, after = one["poisoned"], one["cleaned"]
        return [
            one["attack"],
            f"{one['experiment']['steps']:,}",
            f"{one['poisons']:,}",
            f"{before['success']:.1%}",
            f"{before['without']:.1%}",
            f"{before['recall']:.3f}",
            f"{one['best'][1]}, {one['best'][0]}",
            f"{one['left']:,}",
            f"{after['success']:.1%}",
            f"{after['recall']:.3f}",
            f"{one['cpu_minutes']:.1f}",
        ]

    names = (
        "attack",
        "steps",
        "poisons",
        "success",
        "without trigger",
        "R@1",
        "best detector",
        "poisons left",
    )
    return rows(map(line, found), *names, "success, cleaned", "R@1, cleaned", "CPU minutes")


def detection(found: list[dict[str, Any]]) -> str:
    """For each attack, the detectors."""
    texts = []
    for one in found:
        cells = [
            (view, name, *(f"{value:.3f}" for value in figures.values()))
            for view, name, figures in one["detectors"]
        ]
        names = ("embeddings", "detector", *one["detectors"][0][2])
        texts.append(f"\n### {one['attack']}\n\n{rows(cells, *names)}")
    return "".join(texts)


def trap(found: dict[str, Any]) -> str:
    """SLOF and DAO by size, k and rate."""
    cells = [
        (
            *(f"{one['rate']:.2%}", f"{one['size']:,}", f"{one['rate'] * one['size']:.1f}"),
            *(one["k"], f"{one['SLOF']:.3f}", f"{one['DAO']:.3f}"),
        )
        for one in found["cells"]
    ]
    head = TRAP.format(**{name: value for name, value in found.items() if name != "cells"})
    return f"{head}\n{rows(cells, 'rate', 'size', 'poisons', 'k', 'SLOF', 'DAO')}"


def write(work: Path, path: Path, order: Sequence[str]) -> None:
    """All results in `work`, attacks in `order`, into the Markdown file `path`."""
    found = [orjson.loads(file.read_bytes()) for name in order if (file := work / f"{name}.json").exists()]
    if not found:
        return
    head = HEAD.format(**found[0]["experiment"], poisons=found[0]["poisons"])
    text = f"{head}\n{attacks(found)}{READING}{DETECTION}{detection(found)}"
    if (file := work / "trap.json").exists():
        text += trap(orjson.loads(file.read_bytes()))
    path.write_text(text)
