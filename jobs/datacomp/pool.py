"""A DataComp metadata folder made up at any size, for tests and benchmarks: parquet and, if wanted, npz files.

    winnow datacomp pool OUT --captions FILE --rows 12800000

Scores follow CommonPool's quantiles (DataComp, arXiv 2304.14108, table 16), those of the two models together;
captions are drawn from a file; uids are md5 of text and url as DataComp makes them, and every url is another
one. A pair of embeddings has its score as cosine. The same arguments give the same bytes, file by file.
"""

import gzip
import hashlib
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import polars as pl

PER_FILE = 500_000  # about what DataComp's own files hold
CHUNK = 8192  # rows of embeddings made at a time
SHARES = (0, 0.01, 0.03, 0.10, 0.20, 0.30, 0.40, 0.50, 0.75, 0.90, 1)  # of the pool at or above a score
QUANTILES = {  # the ends are ours
    "b32": (0.50, 0.384, 0.358, 0.325, 0.300, 0.281, 0.263, 0.247, 0.215, 0.193, 0.05),
    "l14": (0.50, 0.364, 0.334, 0.295, 0.266, 0.243, 0.222, 0.203, 0.160, 0.129, 0.00),
}
WIDTHS = {"b32": 512, "l14": 768}
ALIKE = 0.5  # of a sample's rank by one model, what is shared with its rank by the other


@dataclass(frozen=True)
class Plan:
    """What to make. `embeddings`: which models', at `width` numbers a row instead of their own."""

    folder: Path
    rows: int
    per_file: int = PER_FILE
    embeddings: tuple[str, ...] = ()
    width: int | None = None
    seed: int = 0

    def sizes(self) -> list[int]:
        """Rows of each file."""
        return [min(self.per_file, self.rows - start) for start in range(0, self.rows, self.per_file)]


def make_pool(plan: Plan, captions: Sequence[str], workers: int = 1) -> None:
    """Write the folder, a file after the other or several at a time."""
    plan.folder.mkdir(parents=True, exist_ok=True)
    numbers = range(len(plan.sizes()))
    if workers == 1:
        for number in numbers:
            make_file(plan, captions, number)
        return
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:  # polars has threads, which a fork loses
        list(pool.map(make_file, [plan] * len(numbers), [captions] * len(numbers), numbers))


def read_captions(path: Path) -> list[str]:
    """A caption a line, the last field of a TSV; .gz unpacked."""
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
        lines = file.read().decode("utf-8", "replace").split("\n")
    return [line.rstrip("\r").split("\t")[-1] for line in lines if line]


def make_file(plan: Plan, captions: Sequence[str], number: int) -> None:
    """One parquet and its npz."""
    rows, path = plan.sizes()[number], plan.folder / f"{number:08d}"
    rng = np.random.default_rng([plan.seed, number])
    scores = _scores(rng, rows)
    texts = pl.Series(captions).gather(rng.integers(0, len(captions), rows))
    urls = [f"https://images.example/{plan.seed}/{number}/{row}.jpg" for row in range(rows)]
    joined = zip(texts, urls, strict=True)
    digits = rng.bytes(32 * rows).hex()
    width, height = _sides(rng, rows)
    pl.DataFrame(
        {
            "uid": [hashlib.md5((t + u).encode(), usedforsecurity=False).hexdigest() for t, u in joined],
            "url": urls,
            "text": texts,
            "original_width": width,
            "original_height": height,
            **{f"clip_{model}_similarity_score": found for model, found in scores.items()},
            "face_bboxes": pl.repeat([], rows, dtype=pl.List(pl.List(pl.Float64)), eager=True),
            "sha256": [digits[64 * row : 64 * row + 64] for row in range(rows)],
        }
    ).write_parquet(path.with_suffix(".parquet"), compression="snappy")
    if plan.embeddings:
        _write_npz(plan, number, scores, path.with_suffix(".npz"))


def _scores(rng: np.random.Generator, rows: int) -> dict[str, np.ndarray]:
    """Both models' scores: their own quantiles, ranks that go together (a Gaussian copula)."""
    common, *own = rng.standard_normal((3, rows))
    found = {}
    for noise, (model, quantiles) in zip(own, QUANTILES.items(), strict=True):
        ranks = np.argsort(np.argsort(np.sqrt(ALIKE) * common + np.sqrt(1 - ALIKE) * noise))
        found[model] = np.interp((ranks + rng.random(rows)) / rows, SHARES, quantiles)
    return found


def _sides(rng: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Sizes about 500 pixels, some small, some long."""
    side, ratio = np.exp(rng.normal(6.2, 0.6, rows)), np.exp(rng.normal(0.2, 0.45, rows))
    width, height = np.maximum(1, side * np.sqrt(ratio)), np.maximum(1, side / np.sqrt(ratio))
    return width.astype(np.int64), height.astype(np.int64)


# --- embeddings -----------------------------------------------------------------------------------


def _write_npz(plan: Plan, number: int, scores: dict[str, np.ndarray], path: Path) -> None:
    """float16 arrays, stored as numpy.savez does, never one of them in memory."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for place, model in enumerate(plan.embeddings):
            width = plan.width or WIDTHS[model]
            for side, name in enumerate((f"{model}_img", f"{model}_txt")):
                with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as file:
                    header = {"descr": "<f2", "fortran_order": False, "shape": (len(scores[model]), width)}
                    np.lib.format.write_array_header_1_0(file, header)
                    for pair in _pairs([plan.seed, number, place], scores[model], width):
                        file.write(pair[side].astype("<f2").tobytes())


def _pairs(seed: list[int], scores: np.ndarray, width: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(image, text) unit vectors, in chunks; the cosine of a pair is its score."""
    for start in range(0, len(scores), CHUNK):
        cosine = np.nan_to_num(scores[start : start + CHUNK, None]).astype(np.float32)
        rng = np.random.default_rng([*seed, start])
        image, other = rng.standard_normal((2, len(cosine), width), dtype=np.float32)
        image /= np.linalg.norm(image, axis=1, keepdims=True)
        other -= (image * other).sum(1, keepdims=True) * image
        other /= np.linalg.norm(other, axis=1, keepdims=True)
        yield image, cosine * image + np.sqrt(1 - cosine**2) * other
