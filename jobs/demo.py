"""The whole of Winnow on a pool made on the spot: `winnow demo`, or `make demo`.

Makes 2,000 drawn samples with known defects, runs `recipes/demo.yaml` on them, and then checks the outcome
against what was planted: recall per defect, three samples explained, a search in the FAISS index.
"""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import polars as pl

from jobs import run, show
from jobs.sample_pool import make_pool
from jobs.show import console, table
from pipeline.decide import decision_folder
from pipeline.explain import explain
from pipeline.recipe import load
from pipeline.session import Session
from pipeline.shards import iter_fields
from pipeline.source import TarBytes

RECIPE = Path(__file__).parent / "recipes" / "demo.yaml"
MODEL = Path(__file__).parent / "models" / "scene_clip"
SHARDS = 4


def demo(folder: Path, samples: int, seed: int, local: bool) -> None:
    """Everything, in `folder`."""
    console.rule(f"a pool of {samples:,} drawn samples, one third of them defective")
    make_pool(folder / "pool", shards=SHARDS, per_shard=-(-samples // SHARDS), seed=seed)
    session = Session.open(load(str(RECIPE), overrides(folder)))
    console.rule("winnow run")
    result = run.run_all(session, local)
    console.rule("what was planted, and what became of it")
    done = session.complete()
    truth = planted(done)
    show_recall(done, truth)
    console.rule("three samples explained")
    for uid in one_of_each(truth, ["mismatched_caption", "truncated_jpeg", "clean"]):
        show.explanation(explain(done, [uid])[0])
    console.rule("a search in the FAISS index")
    show_search(done)
    console.rule("where things lie")
    run.paths(
        {
            "pool": {"path": folder / "pool"},
            "store": {"path": folder / "store"},
            **result["written"],
        }
    )


def overrides(folder: Path) -> list[str]:
    """The demo's recipe, moved to `folder`."""
    where = {
        "pool.shards": folder / "pool" / "*.tar",
        "pool.store": folder / "store",
        "export.shards": folder / "shards",
        "export.subset": folder / "subset.npy",
        "export.index.path": folder / "index",
        "compute.clip.model": f"{MODEL}.json",
        "compute.clip.pretrained": f"{MODEL}.safetensors",
    }
    return [f"{key}={value}" for key, value in where.items()]


def planted(session: Session) -> pl.DataFrame:
    """uid, shard, row, planted, keep, and a verdict per rule: the truth read from the samples' json, which
    no operator looks at."""
    parts = []
    for shard in session.shards:
        samples = session.store.read(f"samples/{shard.name}.parquet")
        with TarBytes(shard.path) as tar:
            labels = [
                orjson.loads(dict(iter_fields(tar.read(offset, length), key))["json"])["planted"]
                or "clean"
                for key, offset, length in samples.select("key", "offset", "length").iter_rows()
            ]
        verdicts = session.store.read(f"{decision_folder(session)}/{shard.name}.parquet").drop(
            "uid"
        )
        parts.append(
            samples.select("uid", "shard", "row")
            .with_columns(planted=pl.Series(labels))
            .hstack(verdicts)
        )
    return pl.concat(parts)


def show_recall(session: Session, truth: pl.DataFrame) -> None:
    """Per defect: how many are gone, the rule that removes most of them, and how much of what that rule
    removes has this defect, or any."""
    removed = table(
        "",
        "planted",
        "mostly by",
        "samples",
        "removed",
        "recall",
        "rule's precision",
        "any defect",
        text=2,
    )
    defective = truth["planted"] != "clean"
    for name, count in sorted(
        Counter(truth["planted"]).items(), key=lambda item: (item[0] == "clean", -item[1])
    ):
        here = truth["planted"] == name
        gone = int((here & ~truth["keep"]).sum())
        by = {rule: (~truth[rule]).fill_null(True) for rule in session.recipe.keep}
        best = max(by, key=lambda rule: int((by[rule] & here).sum()))
        hits, fails = int((by[best] & here).sum()), int(by[best].sum())
        precision = (
            [f"{hits / fails:.2f}", f"{int((by[best] & defective).sum()) / fails:.2f}"]
            if hits
            else ["-", "-"]
        )
        removed.add_row(
            name,
            best if hits else "-",
            f"{count:,}",
            f"{gone:,}",
            f"{gone / count:.2f}",
            *precision,
        )
    console.print(removed)
    kept = truth.filter("keep")
    clean_before, clean_after = 1 - defective.mean(), (kept["planted"] == "clean").mean()
    console.print(
        f"clean samples: {clean_before:.1%} of the pool, {clean_after:.1%} of what is kept"
    )
    console.print(
        "defects that no rule looks for yet (text in images, numbers, duplicates, poison) stay in"
    )


def one_of_each(truth: pl.DataFrame, kinds: list[str]) -> list[str]:
    """The first sample of each kind."""
    return [truth.filter(pl.col("planted") == kind)["uid"][0] for kind in kinds]


def show_search(session: Session) -> None:
    """The neighbours of the first kept sample's caption, among the kept images."""
    from pipeline.index import search

    query = next(_kept_texts(session))
    console.print(
        f"images nearest to the caption: {query['text']!r}", markup=False, highlight=False
    )
    assert session.recipe.export.index
    found = search(
        session.recipe.export.index.path, np.asarray([query["embedding"]], np.float32), 5
    )
    hits = table("", "uid", "caption", "score", text=2)
    for hit in found[0]:
        hits.add_row(hit["uid"], hit["caption"][:70], f"{hit['score']:.3f}")
    console.print(hits)


def _kept_texts(session: Session) -> Any:
    for shard in session.shards:
        keep = session.store.read(f"{decision_folder(session)}/{shard.name}.parquet", ["keep"])[
            "keep"
        ]
        texts = session.store.read(f"samples/{shard.name}.parquet", ["text"])["text"]
        vectors = session.store.read(
            f"{session.folder('clip')}/{shard.name}.parquet", ["clip.text_embedding"]
        )
        for row in range(len(keep)):
            if keep[row]:
                yield {
                    "text": texts[row],
                    "embedding": vectors["clip.text_embedding"][row].to_numpy(),
                }
