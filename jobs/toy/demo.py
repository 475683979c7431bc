"""The whole of Winnow on a pool made on the spot: `winnow demo`, or `make demo`.

Makes 2,000 drawn samples with known defects, runs `recipes/demo.yaml` on them, and then checks the outcome
against what was planted: recall per defect, three samples explained, a search in the FAISS index.
"""

from collections import Counter
from pathlib import Path
from textwrap import shorten

import numpy as np
import orjson
import polars as pl

from jobs import steps
from jobs.terminal import tables
from jobs.terminal.tables import console, table
from jobs.toy.sample_pool import make_pool
from pipeline.decide.explain import explain
from pipeline.errors import RecipeError
from pipeline.plan.session import Session
from pipeline.plan.stored import complete
from pipeline.pool.tar_reader import iter_fields
from pipeline.recipe.load import load
from pipeline.storage.ranges import ByteRanges

RECIPE = Path(__file__).parents[1] / "recipes" / "demo.yaml"
MODEL = Path(__file__).parent / "models" / "scene_clip"
SCORERS = ("clip", "masked", "digits")  # operators of the recipe that load the model
SHARDS = 4


def demo(folder: Path, samples: int, seed: int, local: bool) -> None:
    """Everything, in `folder`."""
    console.rule(f"a pool of {samples:,} drawn samples, one third of them defective")
    make_pool(folder / "pool", shards=SHARDS, per_shard=-(-samples // SHARDS), seed=seed)
    session = Session.open(load(str(RECIPE), overrides(folder)))
    console.rule("winnow run")
    result = steps.run_all(session, local)
    console.rule("what was planted, and what became of it")
    done = complete(session)
    truth = planted(done)
    show_recall(done, truth)
    show_auroc(done, truth)
    console.rule("three samples explained")
    for uid in one_of_each(truth, ["mismatched_caption", "truncated_jpeg", "clean"]):
        tables.explanation(explain(done, [uid])[0])
    console.rule("a search in the FAISS index")
    show_search(done)
    console.rule("where things lie")
    steps.paths(
        {
            "pool": {"path": folder / "pool"},
            "store": {"path": folder / "store"},
            **result.written,
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
        **{f"compute.{name}.model": f"{MODEL}.json" for name in SCORERS},
        **{f"compute.{name}.pretrained": f"{MODEL}.safetensors" for name in SCORERS},
    }
    return [f"{key}={value}" for key, value in where.items()]


def planted(session: Session) -> pl.DataFrame:
    """uid, shard, row, planted, keep, and a verdict per rule: the truth read from the samples' json, which
    no operator looks at."""
    parts = []
    for shard in session.shards:
        samples = session.store.read_parts("samples", [shard.name])
        with ByteRanges(shard.path) as tar:
            labels = [
                orjson.loads(dict(iter_fields(tar.read(offset, length), key))["json"])["planted"] or "clean"
                for key, offset, length in samples.select("key", "offset", "length").iter_rows()
            ]
        verdicts = session.store.verdicts(session.decisions, shard.name)
        parts.append(
            samples.select("uid", "shard", "row").with_columns(planted=pl.Series(labels)).hstack(verdicts)
        )
    return pl.concat(parts)


def show_recall(session: Session, truth: pl.DataFrame) -> None:
    """Per defect: how many are gone (recall); the rule that fails most of them, of equals the most precise;
    which share of the defect this rule fails, and which share of all that it fails has this defect
    (precision), or any."""
    columns = ("planted", "rule", "samples", "removed", "recall", "by the rule", "precision", "any defect")
    shown, defective = table("", *columns, text=2), truth["planted"] != "clean"
    fails = {rule: (~truth[rule]).fill_null(True) for rule in session.recipe.keep}
    counts = Counter(truth["planted"].to_list())
    del counts["clean"]
    for name, count in counts.most_common():
        here = truth["planted"] == name
        gone = int((here & ~truth["keep"]).sum())
        best = max(fails, key=lambda rule: (int((fails[rule] & here).sum()), -int(fails[rule].sum())))
        shares = [share_of(here, fails[best]), share_of(fails[best], here), share_of(fails[best], defective)]
        figures = (f"{share:.2f}" for share in (gone / count, *shares))
        shown.add_row(name, best, f"{count:,}", f"{gone:,}", *figures)
    console.print(shown)
    console.print(
        "recall: share of these samples that is gone, and that the rule alone removes; precision: share of what\n"
        "the rule removes that has this defect, and that has any. What no rule looks for stays in: duplicates."
    )
    everything = pl.repeat(True, len(truth), eager=True)
    console.print(
        f"clean samples: {share_of(everything, ~defective):.1%} of the pool, {share_of(truth['keep'], ~defective):.1%} "
        f"of what is kept; {share_of(~defective, ~truth['keep']):.1%} of them are lost"
    )


SUSPICIOUS = {  # columns that say something about a pair, and what of them is suspicious
    "clip.score": "low",
    "masked.score": "low",
    "digits.delta": "far",  # from 0: numbers that inflate the score, or lower it
    "effect.rsa": "high",
    "text.characters": "high",
    "parrot.fuzzy_rate": "high",
    "outlier.score": "high",
}


def show_auroc(session: Session, truth: pl.DataFrame) -> None:
    """Per defect and column: the chance that a sample with the defect looks more suspicious than a clean
    one."""
    columns = session.columns
    frames = [columns.read(shard.name, list(SUSPICIOUS)) for shard in session.shards]
    found = truth.select("planted").hstack(pl.concat(frames))
    headings = [column.replace(".", ".\n") for column in SUSPICIOUS]  # narrow, so that names stay whole
    shown = table("AUROC against clean samples", "planted", *headings)
    for name in found["planted"].unique().sort():
        pairs = found.filter(pl.col("planted").is_in([name, "clean"]))
        areas = [auroc(suspicion(pairs[c], how), pairs["planted"] == name) for c, how in SUSPICIOUS.items()]
        if any(area is not None for area in areas):
            shown.add_row(name, *("-" if area is None else f"{area:.2f}" for area in areas))
    console.print(shown)


def suspicion(values: pl.Series, how: str) -> pl.Series:
    """(n,) values -> the same with the suspicious ones high."""
    return values if how == "high" else -values if how == "low" else values.abs()


def auroc(values: pl.Series, positive: pl.Series) -> float | None:
    """The chance that one of the positive (n,) values is above another, ties counted half, rows without a
    value left out; None where one of the two kinds has none."""
    frame = pl.DataFrame({"value": values, "positive": positive}).drop_nulls()
    ranks = frame["value"].rank("average").filter(frame["positive"]).to_numpy()
    ones, others = len(ranks), len(frame) - len(ranks)
    return float((ranks.sum() - ones * (ones + 1) / 2) / (ones * others)) if ones and others else None


def share_of(rows: pl.Series, which: pl.Series) -> float:
    """Of some rows, the share that is also `which` (both (n,) Boolean); 0 of no rows."""
    return int((rows & which).sum()) / max(1, int(rows.sum()))


def one_of_each(truth: pl.DataFrame, kinds: list[str]) -> list[str]:
    """The first sample of each kind."""
    return [truth.filter(pl.col("planted") == kind)["uid"][0] for kind in kinds]


def show_search(session: Session) -> None:
    """The neighbours of the first kept sample's caption, among the kept images."""
    from pipeline.export.faiss_index import search

    text, vector = first_kept(session)
    assert session.recipe.export.index
    found = search(session.recipe.export.index.path, vector[None], 5)
    console.print(f"images nearest to the caption: {text!r}", markup=False, highlight=False)
    hits = table("", "uid", "caption", "cosine", text=2)
    for hit in found.rows.iter_rows(named=True):
        hits.add_row(hit["uid"], shorten(hit["caption"], 64), f"{hit['score']:.3f}")
    console.print(hits)


def first_kept(session: Session) -> tuple[str, np.ndarray]:
    """The caption of the first kept sample, and its embedding, (d,) float16."""
    columns = session.columns
    for shard in session.shards:
        keep = session.store.kept(session.decisions, shard.name)
        if (row := keep.arg_max()) is not None and keep[row]:
            found = columns.read(shard.name, ["text", "clip.text_embedding"])
            return found["text"][row], found["clip.text_embedding"][row].to_numpy()
    raise RecipeError("no sample is kept: nothing to search for")
