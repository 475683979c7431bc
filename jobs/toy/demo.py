"""The whole of Winnow on a small pool that is made on the spot: `winnow demo`, or `make demo`.

The demo draws 2,000 samples with known defects and runs `recipes/demo.yaml` on them. Then it compares the
result with the defects that were planted: how many of each are removed, and how well each column finds them.
It says how biased the pool is and what is kept of it, explains some samples and searches the FAISS index. The
recipe as it ran is left beside the pool, for the commands that it names at the end.
"""

import json
import re
import shlex
import shutil
import sys
from collections import Counter
from functools import reduce
from pathlib import Path
from textwrap import shorten

import numpy as np
import orjson
import polars as pl
import yaml
from rich.text import Text

from jobs import steps
from jobs.terminal import tables
from jobs.terminal.console import console, put
from jobs.terminal.tables import table
from jobs.toy.sample_pool import make_pool
from pipeline.decide.effects import Effects, effects
from pipeline.decide.explain import explain
from pipeline.errors import RecipeError
from pipeline.export.places.file import writing_file
from pipeline.plan.session import Session
from pipeline.plan.stored import complete
from pipeline.pool.kinds.kind import MEMBER_COLUMNS
from pipeline.recipe.load import load
from pipeline.run.executor import LocalExecutor
from pipeline.storage import layout

RECIPE = Path(__file__).parents[1] / "recipes" / "demo.yaml"
MODEL = Path(__file__).parent / "models" / "scene_clip"
BIAS = "patterns"  # the recipe's Stat of the planted bias
WORDS = {"red": "red.txt", "heart": "hearts.txt"}  # operators of the recipe that read words, and their lists
SCORERS = ("clip", "masked", "digits")  # operators of the recipe that load the model
SHARDS = 4
CLEAN = "clean"  # stands for the defect of samples that have none
EXPLAINED = ("mismatched_caption", "truncated_jpeg", CLEAN)


def demo(folder: Path, samples: int, seed: int, local: bool) -> None:
    """Run the demo; the pool, the store and the outputs go into `folder`."""
    console.rule(f"a pool of {samples:,} drawn samples, one third of them defective")
    recipe = write_recipe(folder)
    make_pool(folder / "pool", shards=SHARDS, per_shard=-(-samples // SHARDS), seed=seed)
    session = Session.open(load(recipe))
    console.rule("winnow run")
    result = steps.run_all(session, local, out=console)
    console.rule("what was planted, and what became of it")
    done = complete(session)
    truth = planted(done)
    show_recall(done, truth)
    show_auroc(done, truth)
    show_bias(done)
    console.rule("samples explained")
    show_explained(done, truth)
    console.rule("a search in the FAISS index")
    show_search(done)
    console.rule("where things lie")
    put(folder / "pool")
    put(folder / "store")
    steps.print_paths(result.written)
    show_next(folder, recipe)


def write_recipe(folder: Path) -> str:
    """Write the demo's recipe, with its comments and with the paths of `folder`, into that folder; returns
    its path. One that was edited since the last time is set aside."""
    text = RECIPE.read_text(encoding="utf-8")
    written = yaml.safe_load(text)
    paths = {reduce(dict.__getitem__, key.split("."), written): path for key, path in places(folder).items()}
    named = re.compile("|".join(map(re.escape, sorted(paths, key=len, reverse=True))))
    path = str(folder / RECIPE.name)
    with writing_file(path, "FOLDER", {"export": "recipe"}) as aside:
        own = named.sub(lambda found: json.dumps(str(paths[found[0]])), text)
        Path(aside).write_text(own, encoding="utf-8")
    return path


def places(folder: Path) -> dict[str, Path | str]:
    """Each key of the demo's recipe that is a path -> that path for a demo in `folder`."""
    return {
        "pool.shards": folder / "pool" / "*.tar",
        "pool.store": folder / "store",
        "export.shards": folder / "shards",
        "export.subset": folder / "subset.npy",
        "export.index.path": folder / "index",
        **{f"compute.{name}.model": f"{MODEL}.json" for name in SCORERS},
        **{f"compute.{name}.pretrained": f"{MODEL}.safetensors" for name in SCORERS},
        **{f"compute.{name}.words": MODEL.parents[1] / "words" / file for name, file in WORDS.items()},
    }


def show_next(folder: Path, recipe: str) -> None:
    """What to try next: commands that work as they stand in the folder in which the demo was run."""
    console.rule("what to try next")
    recipe, page = shlex.quote(recipe), shlex.quote(str(folder / "report.html"))
    put("write a page that shows what each rule does, with pictures, and open it in a browser:")
    put(f"  {program()} report {recipe} --out {page}")
    put("try another threshold, which takes seconds:")
    put(f"  {program()} keep {recipe} --set keep.clip.score.top=0.5")
    put("for shards of your own, start with the recipe in README.md, under Your own pool")


def program() -> str:
    """How a shell starts this program again."""
    if shutil.which("winnow"):
        return "winnow"
    script = Path(sys.argv[0])
    return shlex.quote(str(script)) if script.stem == "winnow" else f"{shlex.quote(sys.executable)} -m jobs"


def planted(session: Session) -> pl.DataFrame:
    """uid, shard, row, planted, keep, and a verdict per rule. `planted`, the defect of a sample, is read from
    the sample's json, which no operator reads."""
    parts = []
    for shard in session.shards:
        samples = session.store.read_parts(layout.SAMPLES, [shard.name])
        with session.kind.members(shard) as members_of:
            labels = [
                orjson.loads(dict(members_of(row))["json"])["planted"] or CLEAN
                for row in samples.select(MEMBER_COLUMNS).iter_rows(named=True)
            ]
        verdicts = session.store.verdicts(session.decisions, shard.name)
        parts.append(
            samples.select("uid", "shard", "row").with_columns(planted=pl.Series(labels)).hstack(verdicts)
        )
    return pl.concat(parts)


def show_recall(session: Session, truth: pl.DataFrame) -> None:
    """One row per defect, most frequent first; RECALL_NOTE explains the columns. The rule is the one that
    fails most samples with the defect; of several, the one that fails fewest samples in all."""
    columns = ("planted", "rule", "samples", "removed", "recall", "by the rule", "precision", "any defect")
    rows = table("", *columns, text=2)
    defective = truth["planted"] != CLEAN
    fails = {
        name: (~truth[name]).fill_null(rule.missing != "keep") for name, rule in session.recipe.keep.items()
    }
    counts = Counter(truth["planted"].to_list())
    del counts[CLEAN]
    for defect, count in counts.most_common():
        has_it = truth["planted"] == defect
        removed = int((has_it & ~truth["keep"]).sum())
        best = max(fails, key=lambda rule: (int((fails[rule] & has_it).sum()), -int(fails[rule].sum())))
        shares = (
            removed / count,
            share_of(has_it, fails[best]),
            share_of(fails[best], has_it),
            share_of(fails[best], defective),
        )
        rows.add_row(defect, best, f"{count:,}", f"{removed:,}", *(f"{share:.2f}" for share in shares))
    console.print(rows)
    console.print(*RECALL_NOTE, sep="\n")
    everything = pl.repeat(True, len(truth), eager=True)
    console.print(
        f"clean samples: {share_of(everything, ~defective):.1%} of the pool, "
        f"{share_of(truth['keep'], ~defective):.1%} of what is kept; "
        f"{share_of(~defective, ~truth['keep']):.1%} of them are lost"
    )


RECALL_NOTE = (
    "recall: of the samples with this defect, the share that is removed; by the rule: that the rule fails.",
    "A rule also fails the samples for which it has no value, as of a picture that cannot be decoded.",
    "precision: of the samples that the rule fails, the share with this defect; any defect: with any.",
    "near_duplicate: a picture that was cropped a little; rescaled_copy: one that was not.",
)

SUSPICIOUS = {  # columns that say something about a sample, and which of their values are suspicious
    "clip.score": "low",
    "masked.score": "low",
    "digits.delta": "far",  # from 0: numbers in the caption that raise the score, or lower it
    "effect.rsa": "high",
    "text.characters": "high",
    "parrot.fuzzy_rate": "high",
    "outlier.score": "high",
    "hub.low": "high",
}


def show_auroc(session: Session, truth: pl.DataFrame) -> None:
    """Per defect and column: the chance that a sample with the defect looks more suspicious than a clean
    one."""
    frames = [session.columns.read(shard.name, list(SUSPICIOUS)) for shard in session.shards]
    samples = truth.select("planted").hstack(pl.concat(frames))
    headings = [Text(column.replace(".", ".\n")) for column in SUSPICIOUS]  # narrow: names stay whole
    title = "How well each column separates a defect from clean samples (AUROC; 0.50 is chance)"
    rows = table(title, "planted", *headings)
    for defect in samples["planted"].unique().sort():
        pair = samples.filter(pl.col("planted").is_in([defect, CLEAN]))
        areas = [auroc(suspicion(pair[c], side), pair["planted"] == defect) for c, side in SUSPICIOUS.items()]
        if any(area is not None for area in areas):
            rows.add_row(defect, *("-" if area is None else f"{area:.2f}" for area in areas))
    console.print(rows)


def show_bias(session: Session) -> None:
    """How frequent red is, and how much more frequent hearts are with red than without it: before the
    decision, and after it."""
    found = effects(session, LocalExecutor())  # of the stored tables: nothing is computed again
    bias = Effects(found.folder, {BIAS: found.tables[BIAS]})
    console.print("Of hearts, eight of ten are drawn red. What the decision did to this bias:")
    for name in ("representation", "association"):
        tables.effects(bias, name)
    console.print(*BIAS_NOTE, sep="\n")


BIAS_NOTE = (
    "representation: the share of captions that mention red.",
    "association: the share of captions with a heart among those with red, less that among the others.",
)


def suspicion(values: pl.Series, side: str) -> pl.Series:
    """(n,) values -> (n,) numbers that are high if the value is suspicious: `high`, `low`, or `far` from
    0."""
    return values if side == "high" else -values if side == "low" else values.abs()


def auroc(values: pl.Series, positive: pl.Series) -> float | None:
    """The chance that the value of a positive row is above that of another row, ties counted half. `values`:
    (n,) numbers, rows without one are left out; `positive`: (n,) Boolean. None if one of the two kinds has no
    row."""
    frame = pl.DataFrame({"value": values, "positive": positive}).drop_nulls()
    ranks = frame["value"].rank("average").filter(frame["positive"]).to_numpy()
    positives = len(ranks)
    negatives = len(frame) - positives
    if not positives or not negatives:
        return None
    return float((ranks.sum() - positives * (positives + 1) / 2) / (positives * negatives))


def share_of(rows: pl.Series, which: pl.Series) -> float:
    """The share of `rows` that is also `which`, both (n,) Boolean; 0 if there are none."""
    return int((rows & which).sum()) / max(1, int(rows.sum()))


def show_explained(session: Session, truth: pl.DataFrame) -> None:
    """Explain the first sample of each of EXPLAINED; a small pool may lack some."""
    for defect in EXPLAINED:
        for uid in truth.filter(pl.col("planted") == defect)["uid"].head(1):
            console.print(f"planted: {'nothing' if defect == CLEAN else defect}")
            tables.explanation(explain(session, [uid])[0])


def show_search(session: Session) -> None:
    """Search the kept images with the caption of the first kept sample."""
    from pipeline.search.index import search

    text, vector = first_kept(session)
    assert session.recipe.export.index
    nearest = search(session.recipe.export.index.path, vector[None], 5)
    console.print(f"images nearest to the caption: {text!r}")
    rows = table("", "uid", "caption", "cosine", text=2)
    for hit in nearest.rows.iter_rows(named=True):
        rows.add_row(hit["uid"], shorten(hit["caption"], 64), f"{hit['score']:.3f}")
    console.print(rows)
    path = shlex.quote(session.recipe.export.index.path)
    command = f'{program()} search {path} --text "a blue flower on striped wallpaper" --grid found.png'
    put(f"search it yourself: {command}")


def first_kept(session: Session) -> tuple[str, np.ndarray]:
    """The caption of the first kept sample, and its embedding, (d,) float16. Raises RecipeError if no sample
    is kept."""
    for shard in session.shards:
        keep = session.store.kept(session.decisions, shard.name)
        if (row := keep.arg_max()) is not None and keep[row]:
            columns = session.columns.read(shard.name, ["text", "clip.text_embedding"])
            return columns["text"][row], columns["clip.text_embedding"][row].to_numpy()
    raise RecipeError("no sample is kept: nothing to search for")
