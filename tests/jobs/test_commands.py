"""The commands, as a user types them: tables, paths, JSON, exit codes, books."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml

from jobs.toy.sample_pool import make_pool
from tests.support.command import winnow
from tests.support.paths import ROOT

MODEL = ROOT / "jobs" / "toy" / "models" / "scene_clip"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pool of three shards of 40, the last one truncated, and a recipe."""
    folder = tmp_path_factory.mktemp("jobs")
    shards = make_pool(folder / "pool", shards=3, per_shard=40, seed=5, image_size=64)
    whole = shards[2].read_bytes()
    shards[2].write_bytes(whole[: len(whole) // 2 + 100])
    recipe = {
        "pool": {"shards": f"{folder}/pool/{{00000..00002}}.tar", "store": f"{folder}/store"},
        "compute": {
            "caption": {"use": "caption.Caption"},
            "clip": {"use": "clip.ClipScore", "model": f"{MODEL}.json", "pretrained": f"{MODEL}.safetensors"},
        },
        "keep": {"caption.words": {"min": 3}, "clip.score": {"top": 0.5}},
        "export": {
            "shards": f"{folder}/out",
            "subset": f"{folder}/subset.npy",
            "index": {"embedding": "clip.image_embedding", "path": f"{folder}/index"},
        },
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    return folder


@pytest.fixture(scope="module")
def ran(place: Path) -> dict[str, object]:
    """`run --local --json`."""
    done = winnow("run", place / "recipe.yaml", "--local", "--json", "--allow-damaged")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_books_balance_and_name_the_damaged_shard(ran: dict[str, dict], place: Path) -> None:
    books = ran["books"]
    rules = books["rules"].values()
    assert books["samples"] == books["kept"] + books["dropped"] + books["failed"]
    assert books["dropped"] == sum(rule["dropped"] for rule in rules)
    assert books["failed"] == sum(sum(rule["failed"].values()) for rule in rules)
    assert 90 < books["samples"] < 120  # 40 + 40 + about half of 40
    assert list(books["damaged"]) == ["00002"]
    assert "ends inside" in books["damaged"]["00002"]
    assert books["speeds"]["clip"]["rows"] == books["samples"]
    assert books["bottleneck"]["part"] in books["speeds"]
    assert 0 < books["bottleneck"]["busy"] <= 1
    sizes = json.loads((place / "out" / "sizes.json").read_text())
    assert sizes == {"00000000.tar": books["kept"]}
    assert len(np.load(place / "subset.npy")) == books["kept"]


def test_run_again_computes_nothing(ran: dict[str, dict], place: Path) -> None:
    assert "Everything is computed." in winnow("plan", place / "recipe.yaml").stdout
    again = json.loads(winnow("run", place / "recipe.yaml", "--local", "--json", "--allow-damaged").stdout)
    assert again["books"] == {**ran["books"], "bottleneck": None}


def test_keep_with_another_threshold(ran: dict[str, dict], place: Path) -> None:
    done = winnow(
        "keep", place / "recipe.yaml", "--set", "keep.clip.score.top=0.2", "--json", "--allow-damaged"
    )
    found = json.loads(done.stdout)
    valid = pl.concat(
        [pl.read_parquet(p) for p in sorted((place / "store").glob("columns/clip-*/*.parquet"))]
    )
    ranked = valid["clip.score"].drop_nulls().sort(descending=True)
    assert found["rules"]["clip.score"]["cut"] == ranked[-(-len(ranked) // 5) - 1]
    assert found["kept"] < ran["books"]["kept"]


def test_explain_names_every_rule(ran: dict[str, dict], place: Path) -> None:
    samples = pl.read_parquet(place / "store" / "samples" / "00000.parquet")
    uid = samples.filter(pl.col("text").is_not_null())["uid"][0]
    entry = json.loads(winnow("explain", place / "recipe.yaml", uid, "--json").stdout)[0]
    assert entry["uid"] == uid
    assert [line["rule"] for line in entry["rules"]] == ["caption.words", "clip.score"]
    assert entry["keep"] == all(line["verdict"] == "passes" for line in entry["rules"])
    assert uid in winnow("explain", place / "recipe.yaml", uid).stdout
    unknown = winnow("explain", place / "recipe.yaml", "0" * 32)
    assert (unknown.returncode, unknown.stderr) == (
        2,
        f"error: no sample of the pool has the uid {'0' * 32}\n",
    )


def test_what_was_asked_for_is_on_stdout(ran: dict[str, dict], place: Path) -> None:
    done = winnow("export", place / "recipe.yaml", "--local", "--allow-damaged")
    assert done.stdout.split() == [str(place / "out"), str(place / "subset.npy"), str(place / "index")]
    kept = winnow("keep", place / "recipe.yaml", "--allow-damaged")
    assert "samples read" in kept.stdout
    assert f"read {ran['books']['samples']} = kept {ran['books']['kept']} " in kept.stdout
    (decision,) = (line for line in kept.stderr.splitlines() if line.startswith("decision: "))
    assert Path(decision.removeprefix("decision: ")).is_dir()
    assert "decision" not in kept.stdout
    run = winnow("run", place / "recipe.yaml", "--local", "--allow-damaged")
    assert run.stdout == done.stdout
    assert "samples read" in run.stderr


def test_a_bound_that_nothing_passes_is_a_doubt(ran: dict[str, dict], place: Path) -> None:
    more = ("--allow-damaged", "--set", "keep.caption.words.min=1000")
    text = "keep.caption.words: no sample passes >= 1000; `winnow columns RECIPE caption.words` shows what"
    assert f"doubt {text}" in " ".join(winnow("keep", place / "recipe.yaml", *more).stdout.split())
    (said,) = json.loads(winnow("keep", place / "recipe.yaml", *more, "--json").stdout)["doubts"]
    assert said.startswith(text)


def test_effects_without_a_stat_says_so(ran: dict[str, dict], place: Path) -> None:
    done = winnow("effects", place / "recipe.yaml", "--local", "--allow-damaged")
    assert (done.returncode, done.stdout) == (0, "")
    assert "nothing to compare: the recipe has no Stat" in done.stderr
    assert "all tables" not in done.stderr


def test_a_missing_shard_is_pending_and_the_rest_is_done(ran: dict[str, dict], place: Path) -> None:
    more = f"pool.shards={place}/pool/{{00000..00003}}.tar"
    done = winnow(
        "run", place / "recipe.yaml", "--set", more, "--local", "--set", f"export.shards={place}/out2"
    )
    assert done.returncode == 1
    assert "1 shard is not done:" in done.stderr
    assert "00003: FileNotFoundError" in done.stderr
    assert "run again to retry: winnow run" in done.stderr
    assert f"read {ran['books']['samples']:,} =" in done.stderr


def test_shards_limits_the_pool(place: Path) -> None:
    found = json.loads(
        winnow("keep", place / "recipe.yaml", "--shards", 1, "--json", "--allow-damaged").stdout
    )
    assert (found["shards"], found["samples"]) == (1, 40)


def test_compute_one_operator_only(place: Path, tmp_path: Path) -> None:
    store = f"pool.store={tmp_path}/store"
    done = winnow(
        "compute", place / "recipe.yaml", "caption", "--set", store, "--local", "--verbose", "--allow-damaged"
    )
    assert done.returncode == 0
    assert re.search(r"^[\d:]{8} INFO winnow.run: pass begun: caption; shards: 3;", done.stderr, re.MULTILINE)
    assert re.search(r"pass done: caption; rows: \d+; .* failed shards: 0", done.stderr)
    assert [path.name.split("-")[0] for path in (tmp_path / "store" / "columns").iterdir()] == ["caption"]
    again = winnow("compute", place / "recipe.yaml", "caption", "--set", store, "--local", "--allow-damaged")
    assert "pass done" not in again.stderr
    early = winnow("keep", place / "recipe.yaml", "--set", store, "--allow-damaged")
    assert early.returncode == 2
    assert "run `winnow compute` first" in early.stderr
    unknown = winnow("compute", place / "recipe.yaml", "clipp", "--local")
    assert (unknown.returncode, "clipp is not an operator" in unknown.stderr) == (2, True)


def test_help_lists_the_commands() -> None:
    """In a process of its own: `python -m jobs` is the console script too."""
    command = [sys.executable, "-m", "jobs", "--help"]
    text = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert all(
        f" {name} " in text for name in ("plan", "compute", "keep", "explain", "export", "run", "demo")
    )
