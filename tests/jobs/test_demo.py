"""The demo, whole, on a smaller pool without Ray: what it prints and what it leaves."""

import json
import re
from itertools import chain
from pathlib import Path

import numpy as np
import polars as pl

from jobs.toy.demo import RECIPE, overrides
from jobs.toy.scenes import ACROSS, BACKGROUNDS, STACKED
from pipeline.search.index import search
from tests.support.command import winnow


def test_demo(tmp_path: Path) -> None:
    done = winnow("demo", tmp_path / "demo", "--samples", 400, "--local")
    assert done.returncode == 0, done.stderr
    assert [Path(line).name for line in done.stdout.splitlines()[-5:]] == [
        "pool",
        "store",
        "shards",
        "subset.npy",
        "index",
    ]
    assert re.search(r"read 400 = kept \d+ \(\d+\.\d%\) \+ dropped \d+ \+ failed \d+", done.stdout)
    recall = {
        words[0]: float(words[4])
        for line in done.stdout.splitlines()
        if len(words := line.split()) == 8
        and words[0] != "planted"
        and re.fullmatch(r"[a-z]+\.[a-z_]+", words[1])
    }
    assert len(recall) == 14  # no master print is among so few samples
    for certain in ("small_image", "narrow_image", "corrupt_jpeg", "truncated_jpeg", "missing_caption"):
        assert recall[certain] == 1
    assert min(recall["mismatched_caption"], recall["boilerplate_caption"]) >= 0.8
    assert min(recall["parrot_caption"], recall["unrelated_text"]) >= 0.9
    assert min(recall["poisoned"], recall["rescaled_copy"], recall["near_duplicate"]) >= 0.9
    areas = dict(
        re.findall(r"^ (parrot_caption|unrelated_text|poisoned)((?: +[\d.]+){8})", done.stdout, re.MULTILINE)
    )
    assert float(areas["parrot_caption"].split()[5]) >= 0.95  # by parrot.fuzzy_rate
    assert float(areas["unrelated_text"].split()[4]) >= 0.95  # by text.characters
    assert float(areas["poisoned"].split()[6]) >= 0.9  # by outlier.score
    red = re.search(r"^ red\.mentioned +([\d.]+) +([\d.]+) *$", done.stdout, re.MULTILINE)
    hearts = re.search(r"^ red\.mentioned +heart\.mentioned +([\d.]+) +(-?[\d.]+)", done.stdout, re.MULTILINE)
    assert red
    assert hearts
    assert float(red[2]) < float(red[1]) - 0.04
    assert abs(float(hearts[2])) < float(hearts[1]) / 2
    lost = re.search(r"([\d.]+)% of them are lost", done.stdout)
    assert lost
    assert float(lost[1]) < 36  # balancing, twice, pruning and the outliers' share take clean samples too
    kept = len(np.load(tmp_path / "demo" / "subset.npy"))
    hits = search(str(tmp_path / "demo" / "index"), np.ones((1, 128), np.float32), 3)
    assert kept > 160
    assert hits.rows["uid"].n_unique() == 3
    assert_captions_find_their_scenes(tmp_path / "demo")


def test_a_small_pool_may_lack_what_the_demo_explains(tmp_path: Path) -> None:
    """Of twenty samples, drawn with seed 1, none has a caption of another picture."""
    done = winnow("demo", tmp_path / "demo", "--samples", 20, "--seed", 1, "--local")
    assert done.returncode == 0, done.stderr
    assert "planted: nothing" in done.stdout
    assert "planted: mismatched_caption" not in done.stdout
    assert "winnow search" in done.stdout


def assert_captions_find_their_scenes(folder: Path) -> None:
    """Of the first ten captions that tell of several things and what is behind them, `winnow search` brings
    the picture that was drawn from it first for nine."""
    behind = [phrase for phrases in BACKGROUNDS.values() for phrase in phrases]
    samples = pl.read_parquet(folder / "index" / "metadata" / "metadata_0.parquet")
    whole = samples.filter(
        pl.col("caption").str.to_lowercase().str.contains_any(behind),
        pl.col("caption").str.contains_any([*chain(*ACROSS, *STACKED)]),
    ).head(10)
    flags = [word for override in overrides(folder) for word in ("--set", override)]
    texts = [word for caption in whole["caption"] for word in ("--text", caption)]
    done = winnow("search", RECIPE, *flags, *texts, "--each", "--k", 1, "--json")
    assert done.returncode == 0, done.stderr
    first = [query["hits"][0]["uid"] for query in json.loads(done.stdout)["queries"]]
    assert len(first) == 10
    assert sum(uid == found for uid, found in zip(whole["uid"], first, strict=True)) >= 9
