"""Finding, reading and masking text: what it finds and what it costs, on street photos with every word
marked, on photos with words drawn into them, and as a pass over photos with clip, text and masked score.

    python tests/benchmarks/bench_text.py [--part 120] [--sides 0 640 800] [--enlarge 2] [--pass 200]

Speeds are of one core, by CPU time. `recall`: legible words of which the boxes cover half or more; `exact`:
those that are among the picture's words as they stand; `precision`: boxes of which half or more is a word
(the photos that words are drawn into have text of their own). Plain photos are of all kinds, some with text.
"""

import argparse
import json
import math
import random
import tarfile
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import cv2
import numpy as np
import polars as pl
from PIL import Image, ImageDraw, ImageFont

from operators.algorithms.ocr.lines import TextReader
from operators.algorithms.ocr.masking import text_mask
from operators.parrot import CoEmbeddedText
from pipeline.operator import Device

DATA = Path(__file__).parents[3] / "shared" / "data"
FONTS = (
    *("DejaVuSans-Bold.ttf", "DejaVuSerif.ttf", "DejaVuSansMono.ttf", "DejaVuSerif-BoldItalic.ttf"),
    *("DejaVuSansCondensed-Oblique.ttf", "", ""),  # Pillow's own where empty, or where there is no such file
    *(cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_COMPLEX, cv2.FONT_HERSHEY_TRIPLEX),
)


class Word(NamedTuple):
    """A word in a picture: corners (4, 2) in pixels."""

    quad: np.ndarray
    text: str
    legible: bool = True


Scene = tuple[np.ndarray, list[Word]]
Found = tuple[list[np.ndarray], set[str]]  # boxes and words


def street_scenes(data: Path = DATA) -> list[Scene]:
    """Real street photos, RGB, with their words."""
    found = []
    for line in (data / "scene_text" / "words.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        words = [Word(np.array(w["quad"]).reshape(4, 2), w["text"], w["legible"]) for w in row["words"]]
        with Image.open(data / "scene_text" / "images" / row["image"]) as image:
            found.append((np.asarray(image.convert("RGB")), words))
    return found


def photos(count: int, data: Path = DATA, shard: str = "00000.tar") -> list[np.ndarray]:
    """The first photos of a shard, RGB."""
    with tarfile.open(data / "photos" / shard) as tar:
        files = [member for member in tar if member.name.endswith(".jpg")][:count]
        return [np.asarray(Image.open(tar.extractfile(f)).convert("RGB")) for f in files]  # type: ignore[arg-type]


def stencil(text: str, font: str | int, size: int) -> np.ndarray:
    """The word's ink, (h, w) uint8, without margins."""
    if isinstance(font, int):
        scale, thick = size / 22, max(1, round(size / 14))
        (width, height), below = cv2.getTextSize(text, font, scale, thick)
        ink = np.zeros((height + below + 2 * thick + 4, width + 2 * thick + 4), np.uint8)
        cv2.putText(ink, text, (thick + 2, height + thick), font, scale, 255, thick, cv2.LINE_AA)
    else:
        face: Any = ImageFont.load_default(size)
        with suppress(OSError):
            face = ImageFont.truetype(font, size)
        left, top, right, bottom = (round(edge) for edge in face.getbbox(text))
        sheet = Image.new("L", (right - left + 4, bottom - top + 4))
        ImageDraw.Draw(sheet).text((2 - left, 2 - top), text, 255, face)
        ink = np.asarray(sheet)
    rows, columns = np.nonzero(ink > 40)
    return ink[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]


def draw_word(
    image: np.ndarray, text: str, cell: Sequence[int], rng: random.Random, size: int, angle: float
) -> Scene:
    """A copy with the word somewhere in the cell (left, top, right, bottom), as large as asked or as fits, in
    a colour that can be told from what is there."""
    ink = stencil(text, rng.choice(FONTS), size)
    high, wide = ink.shape
    turn = cv2.getRotationMatrix2D((0, 0), angle, 1)
    quad = np.array([[0, 0, 1], [wide, 0, 1], [wide, high, 1], [0, high, 1]]) @ turn.T
    extent = np.ptp(quad, 0)
    scale = min(1.0, *((np.array(cell[2:]) - cell[:2] - 2) / extent))
    turn, quad, extent = turn * scale, quad * scale, extent * scale
    move = np.array([rng.uniform(cell[i] + 1, cell[i + 2] - 1 - extent[i]) for i in (0, 1)]) - quad.min(0)
    turn[:, 2], quad = turn[:, 2] + move, quad + move
    alpha = cv2.warpAffine(ink, turn, image.shape[1::-1], flags=cv2.INTER_AREA)[..., None] / 255
    (left, top), (right, bottom) = quad.min(0).astype(int), quad.max(0).astype(int) + 1
    colour = below = image[top:bottom, left:right].reshape(-1, 3).mean(0)
    while abs((colour - below) @ (0.299, 0.587, 0.114)) < 90:
        colour = np.array([rng.randrange(256) for _ in range(3)])
    return (image * (1 - alpha) + colour * alpha).round().astype(np.uint8), [Word(quad, text)]


def rendered(images: Sequence[np.ndarray], words: Sequence[str], seed: int = 0) -> list[Scene]:
    """One word in each quarter of every picture: letters 10 to 48 pixels high, upright, tilted or slanted."""
    rng, found = random.Random(seed), []
    for image in images:
        high, wide = image.shape[:2]
        drawn: list[Word] = []
        for x, y in product((0, 1), (0, 1)):
            cell = (wide * x // 2, high * y // 2, wide * (x + 1) // 2, high * (y + 1) // 2)
            text = rng.choice((str.lower, str.upper, str.title))(rng.choice(words))
            angle = rng.choice((0.0, 0.0, rng.uniform(-15, 15), rng.uniform(-45, 45)))
            image, new = draw_word(image, text, cell, rng, round(10 * 4.8 ** rng.random()), angle)
            drawn += new
        found.append((image, drawn))
    return found


def lemmas(data: Path = DATA) -> list[str]:
    """Words of 3 to 10 letters."""
    lines = (data / "wordnet_lemmas.txt").read_text(encoding="utf-8").splitlines()
    return [w for w in map(str.strip, lines) if w.isalpha() and w.isascii() and 3 <= len(w) <= 10]


def figures(scenes: Sequence[Scene], found: Sequence[Found]) -> dict[str, float]:
    """Recall, exact and precision, as the header has them; drawn at twice the size, words being small."""
    covered, exact, right = [], [], []
    for (image, words), (boxes, texts) in zip(scenes, found, strict=True):

        def mask(quads: Sequence[np.ndarray], size: Sequence[int] = image.shape[:2]) -> np.ndarray:
            corners = np.round(2 * np.array(quads, np.float64)).astype(np.int32).reshape(-1, 4, 2)
            return text_mask(corners, 2 * size[0], 2 * size[1]).astype(bool)

        seen, true = mask(boxes), mask([word.quad for word in words])
        legible = [word for word in words if word.legible]
        covered += [seen[mask([word.quad])].mean() >= 0.5 for word in legible]
        exact += [word.text in texts for word in legible]
        right += [true[mask([box])].mean() >= 0.5 for box in boxes]
    values = {"recall": covered, "exact": exact, "precision": right}
    return {name: float(np.mean(value)) if value else 0.0 for name, value in values.items()}


def parrots(scenes: Sequence[Scene], found: Sequence[Found], seed: int = 0) -> dict[str, float]:
    """How well found words tell parrot captions. Each picture has two: one of its drawn words and of others,
    half to all of them drawn (that share is its CoTR), and such a one of another picture (CoTR 0).
    `cotr`, `fuzzy`: mean error of the rates found; `auroc`: of the fuzzy rate, the first against the
    second."""
    rng, others = random.Random(seed), lemmas()
    own, true = [], []
    for _, words in scenes:
        drawn = [word.text for word in words]
        caption = [*drawn, *rng.sample(others, rng.randint(0, len(drawn)))]
        rng.shuffle(caption)
        own.append(" ".join(caption))
        true.append(len(set(drawn)) / len(set(caption)))
    spotted = [sorted(words) for _, words in found]
    frame = pl.DataFrame({"text": [*own, *own[1:], own[0]], "text.words": [*spotted, *spotted]})
    rates = CoEmbeddedText(words="text.words").score(frame)
    exact, fuzzy = (rates[name].to_numpy() for name in ("rate", "fuzzy_rate"))
    expected = np.array([*true, *(0 for _ in own)])
    high, low = np.split(fuzzy, 2)
    above = (high[:, None] > low) + 0.5 * (high[:, None] == low)
    errors = {"cotr": np.abs(exact - expected), "fuzzy": np.abs(fuzzy - expected), "auroc": above}
    return {name: float(values.mean()) for name, values in errors.items()}


def ours(reader: TextReader, images: Sequence[np.ndarray]) -> list[Found]:
    """Boxes and sure words of each picture."""
    found: list[Found] = []
    for lines in reader(images):
        sure = [line.text or "" for line in lines if (line.confidence or 0) >= 0.5]
        found.append(([line.box for line in lines], {word for text in sure for word in text.split()}))
    return found


def rapidocr(images: Sequence[np.ndarray]) -> list[Found]:
    """The wrapper as it comes, on one thread."""
    from rapidocr import RapidOCR

    engine = "EngineConfig.onnxruntime"
    one = {f"{engine}.intra_op_num_threads": 1, f"{engine}.inter_op_num_threads": 1}
    reader = RapidOCR(params={"Global.log_level": "error", **one})
    found: list[Found] = []
    for image in images:
        result: Any = reader(image[..., ::-1])
        boxes = [] if result.boxes is None else list(result.boxes)
        found.append((boxes, {word for text in result.txts or () for word in text.split()}))
    return found


def timed(work: Callable[[], Any], count: int) -> tuple[Any, float]:
    """What it gives, and CPU milliseconds a picture."""
    started = time.process_time()
    result = work()
    return result, 1000 * (time.process_time() - started) / max(1, count)


def quality(sides: Sequence[int], enlarge: float, part: int) -> None:
    """The table: a row per side and set. RapidOCR is given the side 0."""
    sets = {"street": street_scenes()[:part], "drawn": rendered(photos(min(part, 125)), lemmas())}
    print(
        "           set      find ms  read ms  images/s  recall   exact  precision  plain photos with a box"
    )
    for side, (name, scenes) in product(sides, sets.items()):
        images, find, plain = [image for image, _ in scenes], math.nan, math.nan
        if side:
            finder = TextReader(Device(), side, enlarge, 0.4, False)
            _, find = timed(partial(finder, images), len(images))
            plain = np.mean([bool(lines) for lines in finder(photos(200)[-part:])])
        reader = partial(ours, TextReader(Device(), side, enlarge, 0.4, True)) if side else rapidocr
        found, cost = timed(partial(reader, images), len(images))
        values = figures(scenes, found)
        print(
            f"{f'side {side}' if side else 'RapidOCR':11s}{name:8s}{find:8.0f}{cost - find:9.0f}{1000 / cost:10.1f}"
            f"{values['recall']:8.3f}{values['exact']:8.3f}{values['precision']:11.3f}{plain:10.2f}",
            flush=True,
        )
        if name == "drawn":
            values = parrots(scenes, found)
            print(
                f"{'':11s}as captions: error of the rate {values['cotr']:.3f}, of the fuzzy one "
                f"{values['fuzzy']:.3f}; parrots against others, AUROC {values['auroc']:.4f}",
                flush=True,
            )


def whole_pass(samples: int, model: str = "ViT-B-32") -> None:
    """clip, text and masked over photos in one stage: CPU seconds of one thread by what was done."""
    from bench_clip import checkpoint

    from pipeline.pool.shards import Shard
    from pipeline.pool.tar_reader import read_samples
    from pipeline.recipe.lookup import build
    from pipeline.run.stage.runner import StageRunner

    frame, data = next(iter(read_samples(Shard("0", str(DATA / "photos" / "00000.tar")), batch_rows=samples)))
    with tempfile.TemporaryDirectory() as folder:
        weights = {"model": model, "pretrained": checkpoint(model, Path(folder))}
        reads = {"boxes": "text.boxes", "text_embedding": "clip.text_embedding", "plain": "clip.score"}
        clip, masked = ({"use": use, **weights} for use in ("clip.ClipScore", "text.MaskedClipScore"))
        compute = {"clip": clip, "text": {"use": "text.TextBoxes"}, "masked": masked | reads}
        entries = {name: build(name, spec, []) for name, spec in compute.items()}
        runner = StageRunner(entries, {}, Device(), 64)
    with patch("time.perf_counter", time.process_time):  # so that the tally is of CPU seconds
        result, tally = runner.run(frame, data)
    finder = TextReader(Device(), 800, 1.25, 0.4, False)
    find = timed(lambda: finder(photos(len(frame))), 1000)[1]
    total = sum(tally.seconds.values())
    spent = {**tally.seconds, "text: find": find, "text: read": tally.seconds["text"] - find}
    print(f"{len(frame)} photos, {model}: {len(frame) / total:.1f} per second of one core,", end=" ")
    print(f"{(result['text.coverage'] > 0).sum()} with text")
    for name, seconds in spent.items():
        print(f"  {name:12s}{len(frame) / seconds:9.1f} images/s {100 * seconds / total:6.1f} %")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--part", type=int, default=120, help="pictures of each set")
    parser.add_argument("--sides", type=int, nargs="*", default=[0, 480, 640, 800, 960, 1280])
    parser.add_argument("--enlarge", type=float, default=1.25)
    parser.add_argument("--pass", type=int, default=256, dest="samples", help="photos of the pass; 0: none")
    asked = parser.parse_args()
    quality(asked.sides, asked.enlarge, asked.part)
    if asked.samples:
        whole_pass(asked.samples)


if __name__ == "__main__":
    main()
