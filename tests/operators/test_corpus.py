"""MetaCLIP and WFPP over a pool of captions: against brute force, in any cut of the pool, on any worker."""

import gzip
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from operators.algorithms.matching import Matcher, spaced_entry
from operators.metaclip import EntryCount, EntryMatch
from pipeline.decide.decide import decide
from pipeline.operator import Device
from pipeline.plan.session import Session
from pipeline.recipe.load import parse
from pipeline.run.compute import compute
from pipeline.run.executor import LocalExecutor
from pipeline.run.on_ray import RayExecutor
from pipeline.storage import layout
from tests.support.metaclip_spacing import spaced
from tests.support.paths import DATA
from tests.support.sizes import either

pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own
WORDS = [
    "a",
    "dog",
    "cat",
    "on",
    "red",
    "green",
    "beach",
    "of",
    "photo",
    "okapi",
    "hot",
    "new",
    "york",
    "image",
]


# --- the real captions -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real() -> tuple[list[str], list[str]]:
    """120,049 captions and 128,044 entries."""
    if not DATA.exists():
        pytest.skip("no ../shared/data beside this checkout")
    with gzip.open(DATA / "captions.tsv.gz", "rt", encoding="utf-8", newline="\n") as file:
        captions = [line.rstrip("\n").split("\t")[-1] for line in file]
    lines = (DATA / "wordnet_lemmas.txt").read_text(encoding="utf-8").splitlines()
    return captions, [line.replace("_", " ") for line in lines if line.strip()]


def test_matches_equal_brute_force_on_real_captions(real: tuple[list[str], list[str]]) -> None:
    """Every entry looked for in each of some captions, by `in`."""
    captions, entries = real
    sampled = random.Random(0).sample(captions, either(200, 5000))
    ids, counts = Matcher(entries, "english")(pl.Series(sampled))
    last = {spaced_entry(entry, "english"): number for number, entry in enumerate(entries)}
    start = 0
    for text, count in zip(sampled, counts.tolist(), strict=True):
        searched = spaced(text)
        assert ids[start : start + count].tolist() == sorted(n for e, n in last.items() if e in searched), (
            text
        )
        start += count


def test_counts_equal_a_recount_of_all_captions(real: tuple[list[str], list[str]], tmp_path: Path) -> None:
    """By sets of the captions' own runs of words, which needs no automaton."""
    captions, entries = real
    last = {entry: number for number, entry in enumerate(entries)}
    longest = max(entry.count(" ") for entry in entries) + 1
    counts: Counter[int] = Counter()
    for caption in captions:
        words = spaced(caption)[1:-1].split(" ")
        runs = {" ".join(words[i : i + n]) for n in range(1, longest + 1) for i in range(len(words) - n + 1)}
        counts.update({last[run] for run in runs if run in last})
    (tmp_path / "entries.json").write_text(json.dumps(entries))
    match = EntryMatch(metadata=str(tmp_path / "entries.json")).model_copy()
    match.setup({}, Device())
    stat = EntryCount(entries="entries.ids")
    frame = pl.DataFrame({"text": captions})
    parts = [
        stat.partial(match.score(frame[i : i + 8192]).select(pl.col("ids").alias("entries.ids")))
        for i in range(0, len(frame), 8192)
    ]
    table = stat.finish(stat.merge(pl.concat(parts))).drop_nulls("entry")
    assert dict(table.select("entry", "count").iter_rows()) == dict(counts)


# --- any cut, any order, any number of workers -------------------------------------------------------


def captions_of(rows: int) -> pl.DataFrame:
    """Captions whose words fall in frequency, with repeats, empty and missing ones."""
    rng = random.Random(1)
    weights = [1 / rank for rank in range(1, len(WORDS) + 1)]
    texts: list[str | None] = [
        " ".join(rng.choices(WORDS, weights, k=rng.randrange(1, 8))) for _ in range(rows)
    ]
    texts[5], texts[77], texts[99] = None, "", "zzz qqq"
    return pl.DataFrame({"text": texts, "url": [f"https://images.example/{row}" for row in range(rows)]})


def session(folder: Path, shards: int, frame: pl.DataFrame, order: int = 0, workers: int = 1) -> Session:
    """The same rows in so many tables; `order` shuffles which shard has which name."""
    (folder / "pool").mkdir(parents=True)
    names = random.Random(order).sample(range(shards), shards) if order else range(shards)
    size = -(-len(frame) // shards)
    for number, name in enumerate(names):
        frame[number * size : (number + 1) * size].write_parquet(folder / "pool" / f"{name:05d}.parquet")
    (folder / "entries.txt").write_text("\n".join([*WORDS[:-2], "new york", "a dog"]))
    recipe: dict[str, Any] = {
        "pool": {"shards": f"{folder}/pool/*.parquet", "store": f"{folder}/store"},
        "compute": {
            "entries": {"use": "metaclip.EntryMatch", "metadata": f"{folder}/entries.txt"},
            "counts": {"use": "metaclip.EntryCount", "entries": "entries.ids"},
            "balance": {
                "use": "metaclip.BalanceProbability",
                "entries": "entries.ids",
                "counts": "counts",
                "t": 40,
            },
            "threshold": {"use": "metaclip.BalanceThreshold", "entries": "entries.ids", "counts": "counts"},
            "words": {"use": "wfpp.WordFrequency", "minimum_count": 2},
            "wfpp": {"use": "wfpp.WordFrequencyScore", "frequency": "words", "t": 1e-3},
        },
        "keep": {
            "balance.probability": {"chance": True, "seed": 1},
            "wfpp.score": {"top": 0.7, "ties": "uid"},
            "most": {"column": "threshold.t", "bottom": "900 samples", "missing": "keep"},
        },
        "run": {n: {"workers": workers, "cpus": 0.25} for n in ("entries", "balance", "threshold", "wfpp")},
    }
    return Session.open(parse(recipe))


def outcome(made: Session, executor: Any) -> tuple[dict[str, list[Any]], list[pl.DataFrame]]:
    """Verdicts by uid, and the Stats' tables."""
    made = compute(made, executor).session
    decide(made)
    shards = [shard.name for shard in made.shards]
    uids = made.columns.read_many(shards, ["uid"])["uid"]
    rows = pl.concat([made.store.verdicts(made.decisions, shard) for shard in shards])
    verdicts = {uid: list(row) for uid, row in zip(uids, rows.iter_rows(), strict=True)}
    return verdicts, [made.store.read(layout.stat(name, made.keys[name])) for name in ("counts", "words")]


@pytest.mark.usefixtures("local_ray")
def test_the_cut_of_the_pool_the_order_and_the_workers_change_nothing(tmp_path: Path) -> None:
    frame = captions_of(3000)
    plain = session(tmp_path / "ten", 10, frame)
    verdicts, tables = outcome(plain, LocalExecutor())
    assert len(verdicts) == 3000
    assert 0 < sum(row[0] for row in verdicts.values()) < 3000
    cases: dict[str, tuple[int, int, int | None]] = {
        "many": (either(150, 1000), 0, None),
        "shuffled": (10, 7, None),
        "four": (10, 0, 4),
        "one": (10, 0, 1),
    }
    for name, (shards, order, workers) in cases.items():
        made = session(tmp_path / name, shards, frame, order, workers or 1)
        again, same = outcome(made, RayExecutor(made.recipe) if workers else LocalExecutor())
        assert again == verdicts, name
        assert all(one.equals(two) for one, two in zip(tables, same, strict=True)), name


# --- awkward captions -------------------------------------------------------------------------------

AWKWARD = [
    "ภาพถ่ายแมว",
    "黒猫の写真 dog",
    "كلب على الشاطئ",
    "🐶 dog 👩‍👩‍👧",
    "cafe\u0301 dog",
    "dog " * 25_000,
    "dog\0cat",
    "dog \ud800 cat",
    "\u202edog\u202c dog",
    "",
    " ",
    "\u3000dog",
]


def test_awkward_captions_have_a_result(tmp_path: Path) -> None:
    """From JSON lines, where a lone surrogate can hide: U+FFFD takes its place; NUL stays; nothing is
    lost."""
    (tmp_path / "pool").mkdir()
    lines = [json.dumps({"text": text, "url": f"u{i}"}) for i, text in enumerate(AWKWARD)]
    (tmp_path / "pool" / "a.jsonl").write_text("\n".join(lines))
    (tmp_path / "entries.txt").write_text("dog\ncat\n黒猫の写真\n")
    recipe = {
        "pool": {"shards": f"{tmp_path}/pool/a.jsonl", "store": f"{tmp_path}/store"},
        "compute": {
            "caption": {"use": "caption.Caption"},
            "entries": {"use": "metaclip.EntryMatch", "metadata": f"{tmp_path}/entries.txt"},
            "counts": {"use": "metaclip.EntryCount", "entries": "entries.ids"},
            "words": {"use": "wfpp.WordFrequency", "minimum_count": 1},
            "wfpp": {"use": "wfpp.WordFrequencyScore", "frequency": "words", "t": 0.1},
        },
    }
    made = Session.open(parse(recipe))
    log = compute(made, LocalExecutor())
    assert not log.pending
    made = log.session
    entries = made.store.read(f"{made.folder('entries')}/a.parquet")
    assert entries["entries.ids"].to_list() == [
        [],
        [0, 2],
        [],
        [0],
        [0],
        [0],
        [],  # NUL is no space
        [0, 1],
        [0],
        [],
        [],
        [],  # nor is an ideographic space
    ]
    scores = made.store.read(f"{made.folder('wfpp')}/a.parquet")
    assert scores["wfpp.score"].null_count() == 0
    assert scores["wfpp.error"].to_list()[9:11] == ["empty caption"] * 2
    texts = made.store.read("samples/a.parquet")["text"]
    assert texts[6] == "dog\0cat"
    assert texts[7] == "dog \ufffd cat"
