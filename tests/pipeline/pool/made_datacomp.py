"""DataComp folders made on the spot."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from pipeline.decide.decide import decide
from pipeline.export.kept import written_uids
from pipeline.plan.session import Session
from pipeline.plan.stored import complete

UIDS = tuple(f"{number:032x}" for number in range(10))


def write(datacomp_folder: Path, name: str = "a", **columns: Any) -> None:
    """One parquet; a uid, a caption and scores unless told otherwise."""
    rows = next((len(values) for values in columns.values() if values is not None), len(UIDS))
    whole = {
        "uid": UIDS[:rows],
        "text": ["a dog"] * rows,
        "clip_l14_similarity_score": np.arange(rows) / 10,
        **columns,
    }
    datacomp_folder.mkdir(parents=True, exist_ok=True)
    kept = {name: values for name, values in whole.items() if values is not None}
    pl.DataFrame(kept).write_parquet(datacomp_folder / f"{name}.parquet")


def kept(datacomp_session: Session) -> list[str]:
    decide(complete(datacomp_session))
    return [uid for shard in datacomp_session.shards for uid in _kept(datacomp_session, shard.name)]


def _kept(datacomp_session: Session, shard: str) -> list[str]:
    return pl.concat(written_uids(datacomp_session, [shard])).to_list()
