"""A synthetic DataComp metadata folder of any size, for tests and benchmarks.

    winnow datacomp pool OUT --captions FILE --rows 12800000

Scores have CommonPool's quantiles (DataComp, arXiv 2304.14108, table 16), and the two models' scores are
correlated. Captions are drawn from a file, urls are all different, and uids are DataComp's: md5 of text and
url. The cosine of an image's and a caption's embeddings is the score. The same arguments give the same bytes
in every file.
"""

import gzip
import hashlib
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import polars as pl

from pipeline.export.places.contents import HashedFile, content_of, local_content
from pipeline.export.places.folder import MANIFEST, ExportFolder
from pipeline.storage.folder import Folder

KEY = "OUT"  # of the command, for messages
PER_FILE = 500_000  # about as many as in DataComp's own files
CHUNK = 8192  # rows of embeddings made at a time
SHARES = (0, 0.01, 0.03, 0.10, 0.20, 0.30, 0.40, 0.50, 0.75, 0.90, 1)  # of the pool at or above a quantile
QUANTILES = {  # from the paper, but for the first and the last, which it does not give
    "b32": (0.50, 0.384, 0.358, 0.325, 0.300, 0.281, 0.263, 0.247, 0.215, 0.193, 0.05),
    "l14": (0.50, 0.364, 0.334, 0.295, 0.266, 0.243, 0.222, 0.203, 0.160, 0.129, 0.00),
}
WIDTHS = {"b32": 512, "l14": 768}  # numbers per embedding
ALIKE = 0.5  # correlation of the two models' scores, before they are given their quantiles


@dataclass(frozen=True)
class Plan:
    """The pool to make.

    rows        samples in all, `per_file` of them per parquet file
    embeddings  models whose embeddings are written too: b32, l14
    width       numbers per embedding; None: the model's own
    """

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
    """Write the folder with `workers` processes. `captions` are drawn from with replacement. A pool that is
    there already stays until the new one is whole; the same pool is left alone. Raises RecipeError for a
    folder that holds something that Winnow did not write, and HeldError if another process is writing."""
    place = ExportFolder(str(plan.folder), KEY, MANIFEST, _names)
    wanted = {
        "export": "datacomp pool",
        "rows": plan.rows,
        "per_file": plan.per_file,
        "embeddings": list(plan.embeddings),
        "width": plan.width,
        "seed": plan.seed,
        "captions": content_of("\n".join(captions).encode()),
    }
    with place.writing(wanted, "winnow datacomp pool") as stage:
        if stage.complete:
            return
        make = partial(make_file, replace(plan, folder=Path(stage.path)), captions)
        numbers = [n for n in range(len(plan.sizes())) if not stage.files.issuperset(_files(plan, n))]
        if workers == 1:
            for number in numbers:
                stage.note(make(number))
        else:  # spawned, since polars has threads that a fork loses
            with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
                for contents in pool.map(make, numbers):
                    stage.note(contents)
        stage.finish(lambda: None)


def _names(manifest: Mapping[str, Any]) -> Iterator[str]:
    """The files that the manifest of a pool names."""
    if manifest["export"] != "datacomp pool":
        raise ValueError
    plan = Plan(Path(), manifest["rows"], manifest["per_file"], tuple(manifest["embeddings"]))
    for number in range(len(plan.sizes())):
        yield from _files(plan, number)


def _files(plan: Plan, number: int) -> list[str]:
    """The names of one parquet file and, if the plan has embeddings, its npz."""
    return [f"{number:08d}.parquet", *([f"{number:08d}.npz"] if plan.embeddings else [])]


def read_captions(path: Path) -> list[str]:
    """The captions of a file, one per line; of a TSV, the last field. A .gz file is unpacked."""
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
        lines = file.read().decode("utf-8", "replace").split("\n")
    return [line.rstrip("\r").split("\t")[-1] for line in lines if line]


def make_file(plan: Plan, captions: Sequence[str], number: int) -> dict[str, str]:
    """Write one parquet file, and its npz if the plan has embeddings; returns size and digest of each."""
    rows = plan.sizes()[number]
    rng = np.random.default_rng([plan.seed, number])
    scores = _scores(rng, rows)
    texts = pl.Series(captions).gather(rng.integers(0, len(captions), rows))
    urls = [f"https://images.example/{plan.seed}/{number}/{row}.jpg" for row in range(rows)]
    joined = zip(texts, urls, strict=True)
    digits = rng.bytes(32 * rows).hex()
    width, height = _sides(rng, rows)
    frame = pl.DataFrame(
        {
            "uid": [hashlib.md5((t + u).encode(), usedforsecurity=False).hexdigest() for t, u in joined],
            "url": urls,
            "text": texts,
            "original_width": width,
            "original_height": height,
            **{f"clip_{model}_similarity_score": values for model, values in scores.items()},
            "face_bboxes": pl.repeat([], rows, dtype=pl.List(pl.List(pl.Float64)), eager=True),
            "sha256": [digits[64 * row : 64 * row + 64] for row in range(rows)],
        }
    )
    out, (table, *arrays) = Folder(str(plan.folder)), _files(plan, number)
    with out.publishing(table) as aside, HashedFile(aside) as file:
        frame.write_parquet(cast(IO[bytes], file), compression="snappy")
    contents = {table: file.content()}
    for name in arrays:
        with out.publishing(name) as aside:
            _write_npz(plan, number, scores, Path(aside))
            contents[name] = local_content(aside)  # a zip file's headers are written after its members
    return contents


def _scores(rng: np.random.Generator, rows: int) -> dict[str, np.ndarray]:
    """Both models' scores: each has its model's quantiles, their ranks are correlated (a Gaussian copula)."""
    common, *own = rng.standard_normal((3, rows))
    scores = {}
    for noise, (model, quantiles) in zip(own, QUANTILES.items(), strict=True):
        ranks = np.argsort(np.argsort(np.sqrt(ALIKE) * common + np.sqrt(1 - ALIKE) * noise))
        scores[model] = np.interp((ranks + rng.random(rows)) / rows, SHARES, quantiles)
    return scores


def _sides(rng: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Widths and heights of pictures, about 500 pixels, some small, some long."""
    side, ratio = np.exp(rng.normal(6.2, 0.6, rows)), np.exp(rng.normal(0.2, 0.45, rows))
    width, height = np.maximum(1, side * np.sqrt(ratio)), np.maximum(1, side / np.sqrt(ratio))
    return width.astype(np.int64), height.astype(np.int64)


# --- embeddings -----------------------------------------------------------------------------------


def _write_npz(plan: Plan, number: int, scores: dict[str, np.ndarray], path: Path) -> None:
    """Write float16 arrays as numpy.savez does, in chunks, so that no whole array is in memory."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for position, model in enumerate(plan.embeddings):
            width = plan.width or WIDTHS[model]
            for side, name in enumerate((f"{model}_img", f"{model}_txt")):
                with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as file:
                    header = {"descr": "<f2", "fortran_order": False, "shape": (len(scores[model]), width)}
                    np.lib.format.write_array_header_1_0(file, header)
                    for pair in _pairs([plan.seed, number, position], scores[model], width):
                        file.write(pair[side].astype("<f2").tobytes())


def _pairs(seed: list[int], scores: np.ndarray, width: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Unit vectors of images and captions, (c, width) float32, whose cosines are the scores; in chunks."""
    for start in range(0, len(scores), CHUNK):
        cosine = np.nan_to_num(scores[start : start + CHUNK, None]).astype(np.float32)
        rng = np.random.default_rng([*seed, start])
        image, other = rng.standard_normal((2, len(cosine), width), dtype=np.float32)
        image /= np.linalg.norm(image, axis=1, keepdims=True)
        other -= (image * other).sum(1, keepdims=True) * image
        other /= np.linalg.norm(other, axis=1, keepdims=True)
        yield image, cosine * image + np.sqrt(1 - cosine**2) * other
