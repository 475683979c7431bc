"""winnow ingest: from a list of URLs to shards, every URL in the books once, whatever the web does."""

import json
import subprocess
import sys
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipeline.downloads import reason
from pipeline.record import made_uid
from tests.web import KINDS, web

ROOT = Path(__file__).parents[1]
LOOPBACK = ("--allow", "127.0.0.0/8")
EACH = 3  # URLs of a kind


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "jobs", "ingest", *map(str, words)]


def ingest(*words: object, status: int = 0) -> dict[str, Any]:
    """Run the command in a process of its own; what it prints as JSON."""
    run = command(*words, "--local", "--processes", 1, "--json")
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == status, done.stderr
    return json.loads(done.stdout) if done.stdout else {"error": done.stderr}


def sidecars(out: Path) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(path) for path in sorted(out.glob("*.parquet"))])


def in_tars(out: Path) -> list[dict[str, Any]]:
    """The json of every sample in the tars."""
    found = []
    for path in sorted(out.glob("*.tar")):
        with tarfile.open(path) as tar:
            found += [json.load(tar.extractfile(member)) for member in tar if member.name.endswith(".json")]
    return found


def accounted(out: Path, listed: dict[str, str | None]) -> None:
    """Every caption of {caption: reason} is in the sidecars once, with its reason, and in a tar if it has none."""
    rows = sidecars(out)
    assert sorted(rows["caption"]) == sorted(listed)
    found = {
        row["caption"]: None if row["status"] == "success" else reason(row["error_message"])
        for row in rows.iter_rows(named=True)
    }
    assert found == listed
    arrived = sorted(sample["caption"] for sample in in_tars(out))
    assert arrived == sorted(caption for caption, why in listed.items() if why is None)


ODD = {
    "": "no URL",
    "not a url": "no URL",
    "file:///etc/passwd": "no URL",
    "ftp://127.0.0.1/x": "no URL",
    "http://127.0.0.1:1/x": "no connection",
    "http://nowhere.invalid/x": "host not found",
    "http://10.0.0.1/x": "address not public",
    "http://[::1]/x": "address not public",
}


class World:
    """All kinds of URLs, in a TSV, ingested in shards of 20."""

    def __init__(self, folder: Path) -> None:
        self.out = folder / "out"
        with web() as (base, self.hits):
            rows = [
                (f"{kind} {i}", f"{base}/{kind}/{i}", why) for kind, why in KINDS.items() for i in range(EACH)
            ]
            rows += [(f"odd {i}", url, why) for i, (url, why) in enumerate(ODD.items())]
            self.listed = {caption: why for caption, _, why in rows}
            self.uids = {caption: made_uid(caption, url) for caption, url, _ in rows if url}
            lines = ["caption\turl", *(f"{caption}\t{url}" for caption, url, _ in rows)]
            (folder / "list.tsv").write_text("\n".join(lines) + "\n")
            self.words = (folder / "list.tsv", self.out, "--rows", 20, "--timeout", 2, "--retries", 0)
            self.books = ingest(*self.words, "--threads", 16, *LOOPBACK)


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    return World(tmp_path_factory.mktemp("ingest"))


def test_every_url_is_in_the_books_once_by_reason(world):
    accounted(world.out, world.listed)
    lost = Counter(why for why in world.listed.values() if why is not None)
    books = world.books
    assert books["lost"] == dict(lost)
    assert books["listed"] == len(world.listed) == books["downloaded"] + lost.total()
    assert (books["shards"], books["pending"]) == (-(-len(world.listed) // 20), {})
    assert [path.name for path in sorted(world.out.iterdir())][:4] == [
        *("00000000.parquet", "00000000.tar", "00000000_stats.json", "00000001.parquet")
    ]
