"""Hits as a training set: their samples in tars, byte for byte, or their uids in a subset file.

    check_tars(session, "cars")
    write_hits(session, found, "cars", executor, report)     # cars/00000000.tar, .parquet, sizes.json ...
    write_subset_of(found, "cars.npy")

The tars are those of `export.shards`: pool order, the same names of members, a table beside each. The table
has one more column, `search_score`: the hit's highest cosine. `_winnow.json` says which queries these were.
"""

import hashlib
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import orjson
import polars as pl

from pipeline.errors import RecipeError, ShardError, shortened
from pipeline.export.exporter import Report
from pipeline.export.places.file import check_file, note_of
from pipeline.export.places.folder import MANIFEST, ExportFolder
from pipeline.export.scores import ScoreColumns
from pipeline.export.subset import SubsetResult, write_uids
from pipeline.export.tar_writer import TarBuilder
from pipeline.export.tars import TarsResult, Work, cut_tars, names_of, write_tars
from pipeline.plan.output_paths import check_output_path
from pipeline.plan.outputs import check_output_file
from pipeline.plan.session import Session
from pipeline.run.executor import Executor
from pipeline.search.hits import Found
from pipeline.search.samples import by_shard, reasons

EXPORT, SUBSET = "--export", "--subset"
SCORE = "search_score"  # without a dot: no operator's column has such a name


def check_tars(session: Session, out: str) -> None:
    """Raises RecipeError if samples cannot be written to `out`; before any work."""
    if not session.kind.has_images:
        raise RecipeError(
            f"{EXPORT} copies images, and {session.kind.key} are {session.kind.noun}; see {SUBSET}"
        )
    check_output_path(out, EXPORT, folder=True)
    inside = f"{out.rstrip('/')}/00000000.tar"
    check_output_file(EXPORT, inside, session.recipe, session.kind, session.shards, session.searched)
    _place(out).check()


def check_subset(out: str, session: Session | None = None) -> None:
    """Raises RecipeError if a subset file cannot be written to `out`; before any work. A file that an earlier
    search wrote may be replaced. `session`: the pool, None if it is not on this machine."""
    check_output_path(out, SUBSET)
    if session is not None:
        check_output_file(SUBSET, out, session.recipe, session.kind, session.shards, session.searched)
    check_file(out, SUBSET)
    note = note_of(out, SUBSET)
    if note is not None and ("decision" in note or "uids" not in note):
        what = f"the subset of {note['decision']}" if "decision" in note else "a subset"
        raise RecipeError(f"{SUBSET}: {out} is {what}, which no search wrote: move it or name another file")


def write_hits(
    session: Session, found: Found, out: str, executor: Executor, report: Report | None = None
) -> TarsResult:
    """Write the samples of hits, each once. Raises RecipeError if `out` holds something else, and ShardError
    if the pool no longer has one of them, or cannot be read."""
    rows = found.hits.rows
    if rows.is_empty():
        raise RecipeError(f"{EXPORT}: nothing was found, so there is nothing to write")
    if gone := reasons(session, rows):
        raise ShardError(
            f"{EXPORT}: {len(gone):,} of {rows['id'].n_unique():,} samples: {min(gone.values())}"
        )
    chosen = by_shard(rows)
    counts = {shard.name: len(chosen.get(shard.name, ())) for shard in session.shards}
    tars = cut_tars(session.shards, counts, session.recipe.export.samples_per_shard)
    manifest = {
        "export": "search",
        "queries": list(found.names),
        "hits": _digest(rows),
        "samples_per_shard": session.recipe.export.samples_per_shard,
        "shards": len(tars),
        "samples": sum(counts.values()),
    }
    builder = partial(TarBuilder, session, written=_Chosen(chosen), scores=_HitScores(session, rows))
    return write_tars(
        _place(out), manifest, "winnow search", tars, builder, Work(executor, report, _unchanged)
    )


def write_subset_of(found: Found, out: str) -> SubsetResult:
    """Write the uids of hits, those of each sample once. Raises RecipeError."""
    uids = found.hits.rows.unique("id")["uid"]
    return write_uids(out, SUBSET, uids)


class _Chosen:
    """Rows that were chosen one by one."""

    def __init__(self, chosen: Mapping[str, list[int]]) -> None:
        self.chosen = chosen

    def numbers(self, shard: str) -> np.ndarray:
        """See tar_writer.RowNumbers."""
        return np.array(self.chosen.get(shard, []), np.int64)


class _HitScores:
    """The scores of the recipe, if there is one, and the cosine of each hit."""

    def __init__(self, session: Session, rows: pl.DataFrame) -> None:
        self.others = ScoreColumns(session)
        self.best = {
            (s, r): best for s, r, best in rows.group_by("shard", "row").agg(pl.max("score")).iter_rows()
        }

    def read(self, shard: str, rows: int) -> pl.DataFrame:
        """See tar_writer.Scores."""
        cosines = pl.Series(SCORE, [self.best.get((shard, row)) for row in range(rows)], pl.Float32)
        others = self.others.read(shard, rows)
        return others.hstack([cosines]) if others.width else cosines.to_frame()


def _unchanged() -> None:
    """A shard that changed is told of as it is read, so nothing is left to verify."""


def _place(out: str) -> ExportFolder:
    """The folder of the tars."""
    return ExportFolder(out.rstrip("/"), EXPORT, MANIFEST, partial(_names, out))


def _names(out: str, manifest: Mapping[str, Any]) -> Iterator[str]:
    """The files that a manifest names. Raises RecipeError for that of another export."""
    kind = "shards" if "decision" in manifest and "export" not in manifest else str(manifest["export"])
    if kind != "search":
        raise RecipeError(
            f"{EXPORT}: {out} is an export of another kind ({shortened(kind)}); name another folder, or empty this "
            "one"
        )
    yield from names_of(manifest)


def _digest(rows: pl.DataFrame) -> str:
    """The digest of which samples these are, and of their scores."""
    hits = rows.sort("query", "rank").select("uid", "shard", "row", "score").rows()
    return hashlib.blake2b(orjson.dumps(hits), digest_size=16).hexdigest()
