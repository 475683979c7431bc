"""A store that an earlier commit made is complete for today's code, and today's code makes the same bytes.

`data/earlier_store` holds a pool, a recipe, the store and the exports. A checkout gives the pool's files
other times than the store noted, so every test here is also one of a pool that was copied. A change of the
store's law (another key, another format) may replace the folder: run `winnow run recipe.yaml --local` in it,
and delete `store/runs` and `store/footers`. The bytes of parquet files follow from the versions of polars and
pyarrow, which `.ci/constraints.txt` pins.
"""

import io
import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest
from polars.testing import assert_frame_equal

from jobs.app import app
from tests.support.folders import tree

BEFORE = Path(__file__).parent / "data" / "earlier_store"
LAST_BIT = "balance.probability"  # its last bit depends on the processor: numpy's log1p and expm1 do
MANIFEST = "export/shards/_winnow.json"
OF_ONE_RUN = ("runs", "footers", "sources.json")  # what differs between runs


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the fixture, which is also the current folder."""
    shutil.copytree(BEFORE, tmp_path / "copy", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.chdir(tmp_path / "copy")
    return tmp_path / "copy"


@pytest.fixture
def winnow(folder: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """winnow("plan", ...) runs a command on the recipe in this process; returns what it prints as JSON."""

    def run(command: str, *arguments: str) -> Any:
        app([command, "recipe.yaml", *arguments, "--json"], standalone_mode=False)
        return json.loads(capsys.readouterr().out)

    return run


def outputs(folder: Path) -> dict[str, bytes]:
    """Every published byte of the store and of the exports."""
    files = {f"store/{name}": data for name, data in tree(folder / "store", without=OF_ONE_RUN).items()}
    return files | {f"export/{name}": data for name, data in tree(folder / "export", without=()).items()}


def differing_by_processor(before: dict[str, bytes], after: dict[str, bytes], changed: set[str]) -> set[str]:
    """The files that differ in the last bit of LAST_BIT alone, and the manifest that holds their digests."""
    found = set()
    for name in changed:
        frames = [
            pl.read_parquet(io.BytesIO(file[name])) for file in (before, after) if name[-8:] == ".parquet"
        ]
        if frames and LAST_BIT in frames[0].columns and not frames[0].equals(frames[1]):
            assert_frame_equal(*frames, check_exact=False, rel_tol=1e-15, abs_tol=0)
            found.add(name)
    return found | ({MANIFEST} if found else set())


def test_nothing_is_left_to_compute(winnow: Any) -> None:
    plan = winnow("plan")
    assert (plan["shards"], plan["indexed"], plan["samples"], plan["passes"]) == (2, 2, 24, [])
    assert plan["operators"] == {
        "caption": "caption-e4f751a1a2259a1c",
        "colour": "colour-d6980d949dc47005",
        "words": "words-9df12132c1569625",
        "wfpp": "wfpp-b05ee964a6d55953",
        "entries": "entries-7c499d52a88a670d",
        "counts": "counts-a6b169867f1a3cc4",
        "balance": "balance-31e938e224464a96",
    }


def test_a_stat_that_is_deleted_is_planned_again(winnow: Any) -> None:
    Path("store/stats/words-9df12132c1569625.parquet").unlink()
    assert [step["operators"] for step in winnow("plan")["passes"]] == [["words"]]


def test_the_stored_decision_stands(folder: Path, winnow: Any) -> None:
    winnow("compute", "--local")  # tells that the files are only touched
    before = outputs(folder)
    decision = winnow("keep")
    assert {name: decision[name] for name in ("samples", "kept", "dropped", "failed", "pending")} == {
        "samples": 24,
        "kept": 9,
        "dropped": 14,
        "failed": 1,
        "pending": {},
    }
    cuts = {name: rule["cut"] for name, rule in decision["rules"].items() if rule["cut"] is not None}
    assert cuts == {"wfpp.score": 0.070913398316755, "colour.light": 174.02575757575758}
    assert outputs(folder) == before


def test_a_sample_is_explained_from_stored_columns(winnow: Any) -> None:
    winnow("compute", "--local")
    uid = pl.read_parquet("store/samples/00000.parquet")["uid"][3]
    [explanation] = winnow("explain", uid)
    assert (explanation["key"], explanation["keep"]) == ("000000003", False)
    assert [(rule["rule"], rule["value"], rule["verdict"]) for rule in explanation["rules"]] == [
        ("caption.words", 12, "passes"),
        ("wfpp.score", 0.070913398316755, "fails"),  # the cut, but not among the first uids that have it
        ("colour.light", 174.02575757575758, "passes"),
        ("balance.probability", 1 / 3, "fails"),
    ]


def test_a_run_computes_and_exports_nothing_again(folder: Path, winnow: Any) -> None:
    rooms = ("samples", "columns", "stats", "decisions")
    files = [
        *folder.glob("export/shards/*.tar"),
        *(p for r in rooms for p in folder.glob(f"store/{r}/**/*.parquet")),
    ]
    before = {path: path.stat().st_mtime_ns for path in files}
    written = winnow("run", "--local")["written"]
    assert {path: path.stat().st_mtime_ns for path in files} == before
    assert (written["shards"]["written"], written["shards"]["skipped"]) == (0, 2)


def test_from_an_empty_store_every_byte_is_the_same(folder: Path, winnow: Any) -> None:
    before = outputs(folder)
    shutil.rmtree("store")
    shutil.rmtree("export")
    winnow("run", "--local")
    after = outputs(folder)
    assert after.keys() == before.keys()
    changed = {name for name in before if after[name] != before[name]}
    changed -= differing_by_processor(before, after, changed)
    assert changed <= {f"store/samples/0000{i}.parquet" for i in range(2)}  # they note the times of the files
    for name in changed:
        one, two = io.BytesIO(before[name]), io.BytesIO(after[name])
        assert pl.read_parquet(one).equals(pl.read_parquet(two))
        contents = [pq.read_metadata(file).metadata[b"content"] for file in (one, two)]
        assert contents[0] == contents[1]
