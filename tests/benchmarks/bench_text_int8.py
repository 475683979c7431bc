"""Text in pictures by numbers of 32 bits and by integers of 8, on the same pictures in turns.

    python tests/benchmarks/bench_text_int8.py [--part 120] [--from 0] [--step 1]

CPU milliseconds of one thread per picture, and how much is found (bench_text.py says what the figures are):
street photos with every word marked, plain photos, both together, half and half, and photos with words drawn
into them. `ratio`: how many times as fast int8 is; `of float32`: the share of its recall and exact words that
int8 keeps. A shape that OpenVINO has not seen costs it once; that is not counted.
"""

import argparse
import sys
import time
from collections.abc import Sequence

import numpy as np
from bench_text import Found, Scene, figures, lemmas, photos, rendered, street_scenes

from operators.algorithms.ocr.lines import Line, TextReader
from operators.text import TextBoxes
from pipeline.operator import Device
from tests.benchmarks.__main__ import LACKS

TURN = 32  # pictures


def in_turns(
    readers: Sequence[TextReader], images: Sequence[np.ndarray]
) -> tuple[list[list[Found]], list[float]]:
    """For each reader, what it finds, and CPU milliseconds per picture."""
    found: list[list[Found]] = [[] for _ in readers]
    seconds = [0.0] * len(readers)
    for start in range(0, len(images), TURN):
        part = images[start : start + TURN]
        for n, reader in enumerate(readers):
            started = time.process_time()
            lines = reader(part)
            seconds[n] += time.process_time() - started
            found[n] += map(boxes_and_words, lines)
    return found, [1000 * spent / max(1, len(images)) for spent in seconds]


def boxes_and_words(lines: Sequence[Line]) -> Found:
    """The boxes, and the words of sure lines."""
    sure = [line.text or "" for line in lines if (line.confidence or 0) >= 0.5]
    return [line.box for line in lines], {word for text in sure for word in text.split()}


def row(name: str, cost: Sequence[float], scenes: Sequence[Scene], found: Sequence[Sequence[Found]]) -> str:
    """A line of the table; without scenes, of the cost alone."""
    line = f"{name:8s}{cost[0]:11.1f}{cost[1]:9.1f}{cost[0] / cost[1]:8.2f}"
    if not scenes:
        return line
    before, after = (figures(scenes, one) for one in found)
    for what in ("recall", "exact", "precision"):
        line += f"{before[what]:11.3f}{after[what]:7.3f}{after[what] / before[what]:7.3f}"
    return line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--part", type=int, default=120, help="pictures of each set")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first street photo")
    parser.add_argument("--step", type=int, default=1, help="each so many-th street photo")
    asked = parser.parse_args()
    default = TextBoxes()
    if lacking := TextBoxes(precision="int8").lacks():
        print(lacking[0], file=sys.stderr)
        sys.exit(LACKS)
    asks = default.side, default.enlarge, default.threshold, True
    readers = [TextReader(Device(), *asks, "float32"), TextReader(Device(), *asks, "int8")]
    street = street_scenes()[asked.first :: asked.step][: asked.part]
    plain = photos(min(asked.part, 500))
    sets = {"street": street, "photos": [(image, []) for image in plain]}
    sets["drawn"] = rendered(plain[:125], lemmas())
    print(f"{'':8s}{'float32 ms':>11s}{'int8 ms':>9s}{'ratio':>8s}", end="")
    print("".join(f"{what:>11s}{'int8':>7s}{'share':>7s}" for what in ("recall", "exact", "precision")))
    costs = {}
    for name, scenes in sets.items():
        images = [image for image, _ in scenes]
        readers[1](images)
        found, costs[name] = in_turns(readers, images)
        print(row(name, costs[name], scenes if name != "photos" else [], found), flush=True)
    print(row("mix", [sum(both) / 2 for both in zip(costs["street"], costs["photos"], strict=True)], [], []))


if __name__ == "__main__":
    main()
