"""Runs of `winnow ingest` in processes of their own, for its tests and its benchmark. A run can be killed,
and its books can be compared with the list of URLs."""

import json
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from pipeline.pool.img2dataset import STATS, reason
from tests.support.warm import Warm

ROOT = Path(__file__).parents[2]
LOOPBACK = ("--allow", "127.0.0.0/8")


def command(*words: object) -> list[str]:
    """The words of `winnow ingest` for a new process."""
    return [sys.executable, "-m", "jobs", "ingest", *map(str, words), "--json"]


def ingest(*words: object, status: int = 0, warm: Warm | None = None) -> dict[str, Any]:
    """Run the command in a new process, or in a fork of a warm one; returns the JSON that it prints, and
    stderr under `said`."""
    done: subprocess.CompletedProcess[str]
    if warm is None:
        done = subprocess.run(command(*words), cwd=ROOT, capture_output=True, text=True, timeout=600)
    else:
        done = warm.winnow("ingest", *words, "--json")
    assert done.returncode == status, done.stderr
    return {**(json.loads(done.stdout) if done.stdout else {}), "said": done.stderr}


def killed(out: Path, shards: int, *words: object) -> int:
    """Run the command and kill it (SIGKILL, this process alone) when so many shards are published; returns
    how many are published then. AssertionError if the command ends by itself."""
    run = subprocess.Popen(command(*words), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while done(out) < shards and run.poll() is None:
        time.sleep(0.02)
    run.kill()
    assert run.wait() == -signal.SIGKILL
    return done(out)


def done(out: Path) -> int:
    """Shards that are published."""
    return len(list(out.glob(f"*{STATS}")))


def write_list(path: Path, rows: list[tuple[str, str]]) -> None:
    """(caption, url) as a TSV."""
    path.write_text("".join(f"{caption}\t{url}\n" for caption, url in [("caption", "url"), *rows]))


def in_tars(out: Path) -> list[dict[str, Any]]:
    """The json of every sample in the tars."""
    found = []
    for path in sorted(out.glob("*.tar")):
        with tarfile.open(path) as tar:
            found += [json.load(tar.extractfile(member)) for member in tar if member.name.endswith(".json")]
    return found


def accounted(out: Path, listed: Mapping[str, str | None]) -> None:
    """Assert that every caption of {caption: reason} is in the sidecars once with its reason, and in the tars
    once if it has none."""
    rows = pl.concat([pl.read_parquet(path) for path in sorted(out.glob("*.parquet"))])
    assert sorted(rows["caption"]) == sorted(listed)
    found = {
        row["caption"]: None if row["status"] == "success" else reason(row["error_message"])
        for row in rows.iter_rows(named=True)
    }
    assert found == listed
    arrived = sorted(sample["caption"] for sample in in_tars(out))
    assert arrived == sorted(caption for caption, why in listed.items() if why is None)
