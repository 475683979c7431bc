"""The demo, whole, on a smaller pool without Ray: what it prints and what it leaves."""

import json
import re
import shlex
import sys
from itertools import chain
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml

from jobs.toy import scenes
from jobs.toy.demo import program, write_recipe
from jobs.toy.scenes import ACROSS, BACKGROUNDS, STACKED
from pipeline.search.index import search
from tests.support.command import winnow

TOY = Path(scenes.__file__).parent
NEXT = ("report", "keep", "search")  # commands that the demo names


def test_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = winnow("demo", tmp_path / "demo", "--samples", 400, "--local")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    there = next(row for row, line in enumerate(lines) if "where things lie" in line)
    names = [Path(line).name for line in lines[there + 1 : there + 6]]
    assert names == ["pool", "store", "shards", "subset.npy", "index"]
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
    assert_the_next_commands_work(lines, kept, tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("found", "started", "named"),
    [
        ("/usr/bin/winnow", "/usr/bin/winnow", "winnow"),
        (None, "my envs/bin/winnow", "'my envs/bin/winnow'"),  # in no folder of PATH, as after `make install`
        (None, "/somewhere/jobs/__main__.py", f"{shlex.quote(sys.executable)} -m jobs"),
    ],
    ids=["installed", "beside", "a module"],
)
def test_how_a_shell_starts_the_program_again(found, started, named, monkeypatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: found)
    monkeypatch.setattr("sys.argv", [started, "demo"])
    assert program() == named


def test_the_recipe_of_a_demo_is_the_demos_own_with_its_paths(tmp_path: Path) -> None:
    """A name that YAML would read as something else; what a user has edited is not lost."""
    folder = tmp_path / "my demo: #1"
    path = Path(write_recipe(folder))
    text = path.read_text()
    assert text.startswith("# The demo: every method on a small pool")
    found = yaml.safe_load(text)
    assert found["pool"] == {"shards": f"{folder}/pool/*.tar", "store": f"{folder}/store"}
    assert found["export"]["index"]["path"] == f"{folder}/index"
    assert "jobs/toy" not in text.replace(str(TOY), "")
    assert Path(found["compute"]["red"]["words"]).is_file()
    write_recipe(folder)
    assert not list(folder.glob("*.damaged*"))
    path.write_text(f"{text}# mine")
    write_recipe(folder)
    assert path.read_text() == text
    assert (folder / "demo.yaml.damaged1").read_text() == f"{text}# mine"


def test_a_small_pool_may_lack_what_the_demo_explains(tmp_path: Path) -> None:
    """Of twenty samples, drawn with seed 1, none has a caption of another picture."""
    done = winnow("demo", tmp_path / "demo", "--samples", 20, "--seed", 1, "--local")
    assert done.returncode == 0, done.stderr
    assert "planted: nothing" in done.stdout
    assert "planted: mismatched_caption" not in done.stdout
    assert "winnow search" in done.stdout


def assert_the_next_commands_work(
    lines: list[str], kept: int, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The demo's last lines name commands; as they stand, each works, and answers about this demo."""
    there = next(row for row, line in enumerate(lines) if "what to try next" in line)
    report, keep = (shlex.split(line) for line in lines[there:] if line.startswith("  "))
    search = shlex.split(next(line for line in lines if "search it yourself: " in line).partition(": ")[2])
    assert [words[:2] for words in (report, keep, search)] == [["winnow", name] for name in NEXT]
    monkeypatch.chdir(folder)
    done = [winnow(*words[1:]) for words in (report, keep, search)]
    assert [one.returncode for one in done] == [0, 0, 0], [one.stderr for one in done]
    assert done[0].stdout == f"{folder}/demo/report.html\n"
    assert f"{kept:,}</strong> of 400 samples are kept" in (folder / "demo" / "report.html").read_text()
    assert "(top 50%)" in done[1].stdout
    assert done[2].stdout == "found.png\n"
    assert (folder / "found.png").exists()


def assert_captions_find_their_scenes(folder: Path) -> None:
    """Of the first ten captions that tell of several things and what is behind them, `winnow search` brings
    the picture that was drawn from it first for nine."""
    behind = [phrase for phrases in BACKGROUNDS.values() for phrase in phrases]
    samples = pl.read_parquet(folder / "index" / "metadata" / "metadata_0.parquet")
    whole = samples.filter(
        pl.col("caption").str.to_lowercase().str.contains_any(behind),
        pl.col("caption").str.contains_any([*chain(*ACROSS, *STACKED)]),
    ).head(10)
    texts = [word for caption in whole["caption"] for word in ("--text", caption)]
    done = winnow("search", folder / "demo.yaml", *texts, "--each", "--k", 1, "--json")
    assert done.returncode == 0, done.stderr
    first = [query["hits"][0]["uid"] for query in json.loads(done.stdout)["queries"]]
    assert len(first) == 10
    assert sum(uid == found for uid, found in zip(whole["uid"], first, strict=True)) >= 9
