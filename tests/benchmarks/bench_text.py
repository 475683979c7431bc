"""Finding, reading and masking text: what it finds and what it costs, on street photos with every word marked,
on photos with words drawn into them, and as a pass over photos with clip, text and masked score.

    python tests/benchmarks/bench_text.py [--part 60] [--sides 640 800] [--skip-rapidocr] [--pass 500]

Speeds are of one core, by CPU time. `recall`: legible words of which the boxes cover half or more; `exact`:
those that are among the picture's words as they stand; `precision`: boxes of which half or more is a word, told
for street photos only, since a photo may have text of its own; `boxes`: pictures of plain photos with a box.
"""

import argparse
import json
import math
import random
import tarfile
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from operators.algorithms.masking import text_mask
from operators.algorithms.ocr import TextReader
from pipeline.operator import Device

DATA = Path(__file__).parents[3] / "shared" / "data"
FONTS = (
    *("DejaVuSans-Bold.ttf", "DejaVuSerif.ttf", "DejaVuSansMono.ttf", "DejaVuSerif-BoldItalic.ttf"),
    *("DejaVuSansCondensed-Oblique.ttf", "", ""),  # Pillow's own where empty, or where there is no such file
    *(cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_COMPLEX, cv2.FONT_HERSHEY_TRIPLEX),
)
LUMA = np.array([0.299, 0.587, 0.114])


class Word(NamedTuple):
    """A word in a picture: corners (4, 2) in pixels, and the height of its font where it was drawn."""

    quad: np.ndarray
    text: str
    legible: bool = True
    size: float = 0.0


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


def photos(count: int, data: Path = DATA) -> list[np.ndarray]:
    """The first photos of the first shard, RGB."""
    with tarfile.open(data / "photos" / "00000.tar") as tar:
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
        try:
            face: Any = ImageFont.truetype(font, size) if font else ImageFont.load_default(size)
        except OSError:
            face = ImageFont.load_default(size)
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
    room = np.array([cell[2] - cell[0] - 2, cell[3] - cell[1] - 2])
    scale = min(1.0, *(room / extent))
    turn, quad, extent = turn * scale, quad * scale, extent * scale
    move = np.array([rng.uniform(cell[i] + 1, cell[i + 2] - 1 - extent[i]) for i in (0, 1)]) - quad.min(0)
    turn[:, 2] += move
    quad = quad + move
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    alpha = cv2.warpAffine(ink, turn, image.shape[1::-1], flags=how)[..., None] / 255
    (left, top), (right, bottom) = quad.min(0).astype(int), quad.max(0).astype(int) + 1
    below = image[top:bottom, left:right].reshape(-1, 3).mean(0)
    colour = below
    while abs((colour - below) @ LUMA) < 90:
        colour = np.array([rng.randrange(256) for _ in range(3)])
    return (image * (1 - alpha) + colour * alpha).round().astype(np.uint8), [
        Word(quad, text, True, size * scale)
    ]


def rendered(images: Sequence[np.ndarray], words: Sequence[str], seed: int = 0) -> list[Scene]:
    """One word in each quarter of every picture: letters 10 to 48 pixels high, upright, tilted or slanted."""
    rng, found = random.Random(seed), []
    for image in images:
        high, wide = image.shape[:2]
        drawn: list[Word] = []
        for quarter in range(4):
            x, y = quarter % 2, quarter // 2
            cell = (wide * x // 2, high * y // 2, wide * (x + 1) // 2, high * (y + 1) // 2)
            text = rng.choice(words)
            text = rng.choice((text.lower(), text.upper(), text.title()))
            angle = rng.choice((0.0, 0.0, rng.uniform(-15, 15), rng.uniform(-45, 45)))
            size = round(math.exp(rng.uniform(math.log(10), math.log(48))))
            image, new = draw_word(image, text, cell, rng, size, angle)
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
        size = [2 * length for length in image.shape[:2]]
        double = [np.round(np.asarray(box, np.float64) * 2).astype(np.int32) for box in boxes]
        quads = [np.round(word.quad * 2).astype(np.int32) for word in words]
        seen = text_mask(np.array(double, np.int32).reshape(-1, 4, 2), *size).astype(bool)
        true = text_mask(np.array(quads, np.int32).reshape(-1, 4, 2), *size).astype(bool)
        for word, quad in zip(words, quads, strict=True):
            if word.legible:
                covered.append(seen[text_mask(quad[None], *size).astype(bool)].mean() >= 0.5)
                exact.append(word.text in texts)
        right += [true[text_mask(box[None], *size).astype(bool)].mean() >= 0.5 for box in double]
    values = {"recall": covered, "exact": exact, "precision": right}
    return {name: float(np.mean(value)) if value else 0.0 for name, value in values.items()}


def ours(reader: TextReader, images: Sequence[np.ndarray]) -> list[Found]:
    """Boxes and sure words of each picture."""
    return [
        (
            [line.box for line in lines],
            {w for line in lines if (line.confidence or 0) >= 0.5 for w in (line.text or "").split()},
        )
        for lines in reader(images)
    ]


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


def quality(sides: Sequence[int], part: int, peer: bool, enlarge: float) -> None:
    """The table: a row per side and set."""
    sets = {"street": street_scenes()[:part], "drawn": rendered(photos(min(part, 125)), lemmas())}
    plain = photos(200)[-part:]
    print(f"{'':10s}{'':8s}find ms  read ms  images/s  recall   exact  precision  boxes")
    for name, scenes in sets.items():
        images = [image for image, _ in scenes]
        if peer:
            found, cost = timed(lambda images=images: rapidocr(images), len(images))
            print(f"{'RapidOCR':10s}{name:8s}{cost:16.0f}  {row(cost, figures(scenes, found))}", flush=True)
        for side in sides:
            finder = TextReader(Device(), side, enlarge, 0.4, False)
            reader = TextReader(Device(), side, enlarge, 0.4, True)
            _, find = timed(lambda images=images, finder=finder: finder(images), len(images))
            found, cost = timed(lambda images=images, reader=reader: ours(reader, images), len(images))
            boxes = sum(bool(lines) for lines in finder(plain)) / len(plain) if name == "drawn" else math.nan
            print(
                f"side {side:<5d}{name:8s}{find:7.0f}{cost - find:9.0f}  {row(cost, figures(scenes, found))}"
                f"{boxes:10.2f}",
                flush=True,
            )


def row(cost: float, values: dict[str, float]) -> str:
    """Figures in the table's columns."""
    return f"{1000 / cost:8.1f}{values['recall']:8.3f}{values['exact']:8.3f}{values['precision']:11.3f}"


def whole_pass(samples: int, model: str) -> None:
    """clip, text and masked over photos in one stage: seconds of one thread by what was done."""
    from bench_clip import checkpoint

    from pipeline.recipe import parse
    from pipeline.shards import Shard, read_samples
    from pipeline.stage import StageRunner, Tally

    with tempfile.TemporaryDirectory() as folder:
        weights = {"model": model, "pretrained": checkpoint(model, Path(folder))}
        reads = {"boxes": "text.boxes", "text_embedding": "clip.text_embedding", "plain": "clip.score"}
        compute = {
            "clip": {"use": "clip.ClipScore", **weights},
            "text": {"use": "text.TextBoxes"},
            "masked": {"use": "text.MaskedClipScore", **weights, **reads},
        }
        recipe = parse({"pool": {"shards": "unused", "store": folder}, "compute": compute})
        runner = StageRunner({name: recipe.compute[name] for name in compute}, {}, Device(), 64)
        tally, masked = Tally(), 0
        for table in read_samples(Shard("0", str(DATA / "photos" / "00000.tar")), batch_rows=samples):
            from polars import from_arrow

            frame: Any = from_arrow(table)
            result, tally = runner.run(frame.drop("image"), table.column("image").to_pylist())
            masked = int(result["masked.score"].ne(result["clip.score"]).sum())
            break
        find = timed_find(samples)
        seconds = dict(tally.seconds) | {"text: find": find, "text: read": tally.seconds["text"] - find}
        total = sum(tally.seconds.values())
        rows = tally.rows["decode"]
        print(
            f"{rows} photos, {model}, {rows / total:.1f} a second of one core; {masked} masked and encoded again"
        )
        for stage, spent in seconds.items():
            print(f"  {stage:12s}{rows / spent:9.1f} images/s {100 * spent / total:6.1f} %")


def timed_find(samples: int) -> float:
    """Seconds that finding alone takes."""
    images = photos(samples)
    return timed(lambda: TextReader(Device(), 800, 1.25, 0.4, False)(images), 1000)[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--part", type=int, default=120, help="pictures of each set")
    parser.add_argument("--sides", type=int, nargs="*", default=[480, 640, 800, 960, 1280])
    parser.add_argument("--enlarge", type=float, default=1.25)
    parser.add_argument("--skip-rapidocr", action="store_true")
    parser.add_argument(
        "--pass", type=int, default=200, dest="samples", help="photos of the whole pass; 0: none"
    )
    parser.add_argument("--model", default="ViT-B-32")
    asked = parser.parse_args()
    quality(asked.sides, asked.part, not asked.skip_rapidocr, asked.enlarge)
    if asked.samples:
        whole_pass(asked.samples, asked.model)


if __name__ == "__main__":
    main()
