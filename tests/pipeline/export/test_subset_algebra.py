"""Subset files as multisets: Python's Counter says what is right, whatever the size of a block."""

import json
from collections import Counter
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from jobs.app import app
from pipeline.errors import RecipeError
from pipeline.export.subset import DTYPE, read_subset, subset_uids
from pipeline.export.subset_algebra import (
    Combination,
    Difference,
    RowCount,
    SubsetFile,
    combine,
    describe,
    difference,
)
from pipeline.storage.folder import Folder
from pipeline.uids import search_uids
from tests.support.folders import contents

EDGES = ["0" * 32, "0" * 31 + "1", "0" * 15 + "1" + "0" * 16, "f" * 32, "f" * 16 + "0" * 16]
UIDS = st.lists(st.sampled_from([*EDGES, *(f"{i:032x}" for i in range(6))]), max_size=30)


def write(path: Path, uids) -> str:
    """As DataComp's README makes it."""
    rows = np.array([(int(u[:16], 16), int(u[16:], 16)) for u in uids], DTYPE)
    rows.sort()
    np.save(path, rows)
    return str(path)


def uids_of(path) -> list[str]:
    return subset_uids(read_subset(str(path)))


@settings(max_examples=30)
@given(st.lists(UIDS, min_size=2, max_size=4), st.integers(1, 9))
def test_operations_are_those_of_counters(tmp_path_factory, lists, block):
    folder = tmp_path_factory.mktemp("subsets")
    paths = [write(folder / f"{i}.npy", uids) for i, uids in enumerate(lists)]
    first, second, *rest = counters = [Counter(uids) for uids in lists]
    both, either, less = first & second, first | second, first - second
    for counter in rest:
        both, either, less = both & counter, either | counter, less - counter
    for operation, files, expected in [
        ("and", paths, both),
        ("or", paths, either),
        ("minus", paths, less),
        ("xor", paths[:2], (first - second) + (second - first)),
    ]:
        result = combine(files, operation, str(folder / "out.npy"), block)
        assert uids_of(folder / "out.npy") == sorted(expected.elements()), operation
        counts = (expected.total(), len(expected))
        assert result == Combination(str(folder / "out.npy"), *counts)
        assert combine(files, operation, block=block) == Combination(None, *counts)
    found = describe(paths, block)
    assert found.overlap == [[(a & b).total() for b in counters] for a in counters]
    assert found.files == [
        SubsetFile(path, len(uids), len(counter), max(counter.values(), default=0))
        for path, uids, counter in zip(paths, lists, counters, strict=True)
    ]
    common = [uid for uid in first if second[uid]]
    assert difference(paths[:2], block) == Difference(
        both=RowCount((first & second).total(), len(common)),
        only_first=RowCount((first - second).total(), len(first.keys() - second.keys())),
        only_second=RowCount((second - first).total(), len(second.keys() - first.keys())),
        changed=RowCount(
            rows=sum(abs(first[uid] - second[uid]) for uid in common),
            distinct=sum(first[uid] != second[uid] for uid in common),
        ),
    )


def test_the_bytes_are_datacomps(tmp_path):
    a, b = write(tmp_path / "a.npy", EDGES[:3] * 2), write(tmp_path / "b.npy", EDGES[2:])
    combine([a, b], "or", str(tmp_path / "out.npy"))
    write(tmp_path / "expected.npy", [*EDGES[:3] * 2, *EDGES[3:]])
    assert (tmp_path / "out.npy").read_bytes() == (tmp_path / "expected.npy").read_bytes()
    assert sorted(contents(tmp_path)) == [
        "a.npy",
        "b.npy",
        "expected.npy",
        "out.npy",
        "out.npy.winnow.json",
    ]


def test_one_file_may_be_both_input_and_output(tmp_path):
    a, b = write(tmp_path / "a.npy", EDGES), write(tmp_path / "b.npy", EDGES[:2])
    out = str(tmp_path / "out.npy")
    combine([a, b], "or", out)
    combine([out, b], "minus", out, block=2)
    assert uids_of(out) == sorted(EDGES[2:])


def test_a_file_of_somebody_else_is_not_overwritten(tmp_path):
    a, b = write(tmp_path / "a.npy", EDGES), write(tmp_path / "b.npy", EDGES[:2])
    before = Path(a).read_bytes()
    with pytest.raises(RecipeError, match=r"^--out: .*a\.npy exists and was not written by Winnow: move it"):
        combine([a, b], "minus", a)
    assert Path(a).read_bytes() == before


@given(UIDS, UIDS)
def test_search(uids, wanted):
    rows = np.sort(np.array([divmod(int(u, 16), 2**64) for u in uids], DTYPE))
    asked = np.array([divmod(int(u, 16), 2**64) for u in wanted], DTYPE)
    for side, before in (("left", lambda u, w: u < w), ("right", lambda u, w: u <= w)):
        found = search_uids(rows, asked["f0"], asked["f1"], side)
        assert found.tolist() == [sum(before(u, w) for u in uids) for w in wanted]


def test_large_files_of_random_uids(tmp_path):
    rng = np.random.default_rng(0)
    pool = np.sort(rng.integers(0, 2**64, (50_000, 2), np.uint64).view(DTYPE)[:, 0])
    for name, seed in (("a", 1), ("b", 2)):
        np.save(tmp_path / f"{name}.npy", pool[np.random.default_rng(seed).random(len(pool)) < 0.5])
    found = combine([str(tmp_path / f"{n}.npy") for n in "ab"], "and", str(tmp_path / "c.npy"), block=1000)
    sets = [set(uids_of(tmp_path / f"{n}.npy")) for n in "ab"]
    assert uids_of(tmp_path / "c.npy") == sorted(sets[0] & sets[1])
    assert found.rows == len(sets[0] & sets[1])


def test_files_that_will_not_do(tmp_path):
    good = write(tmp_path / "good.npy", EDGES)
    rows = read_subset(good)
    np.save(tmp_path / "floats.npy", np.zeros(3))
    np.save(tmp_path / "unsorted.npy", rows[::-1])
    np.save(tmp_path / "pickled.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "many.npz", rows)
    (tmp_path / "torn.npy").write_bytes(Path(good).read_bytes()[:150])
    (tmp_path / "text.npy").write_text("uid")
    for name, words in [
        ("floats.npy", r"must be a list of u8,u8, got float64 \(3,\)"),
        ("unsorted.npy", f"must be sorted, and {'f' * 16}{'0' * 16} comes after a larger uid"),
        ("pickled.npy", r"must be a subset file \(\.npy\)"),
        ("many.npz", r"must be a subset file \(\.npy\)"),
        ("torn.npy", r"must be a subset file \(\.npy\)"),
        ("text.npy", r"must be a subset file \(\.npy\)"),
        ("none.npy", "no such file"),
        ("", "no such file"),
    ]:
        for block, files in product((1, 100), ([good, str(tmp_path / name)], [str(tmp_path / name), good])):
            with pytest.raises(RecipeError, match=words):
                combine(files, "and", str(tmp_path / "out" / "x.npy"), block)
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_object_storage(tmp_path):
    local = write(tmp_path / "a.npy", EDGES)
    Folder("memory://algebra").publish("a.npy", Path(local).read_bytes())
    combine(["memory://algebra/a.npy", local], "and", "memory://algebra/out.npy")
    assert uids_of("memory://algebra/out.npy") == sorted(EDGES)


# --- the command line -------------------------------------------------------------------------------


def winnow(*words) -> str:
    done = CliRunner().invoke(app, ["subset", *map(str, words)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_commands(tmp_path):
    a, b = write(tmp_path / "a.npy", [*EDGES, EDGES[0]]), write(tmp_path / "b.npy", EDGES[:2])
    out = tmp_path / "out.npy"
    for words, expected in [
        (("and", a, b), EDGES[:2]),
        (("or", a, b), [*EDGES, EDGES[0]]),
        (("minus", a, b), [*EDGES[2:], EDGES[0]]),
        (("xor", b, a), [*EDGES[2:], EDGES[0]]),
    ]:
        assert winnow(*words, "--out", out) == f"{out}\n"
        assert uids_of(out) == sorted(expected)
        counts = json.loads(winnow(*words, "--json"))
        assert counts == {"path": None, "rows": len(expected), "distinct": len(set(expected))}
    assert json.loads(winnow("info", a, b, "--json"))["overlap"] == [[6, 2], [2, 2]]
    assert json.loads(winnow("diff", a, b, "--json"))["changed"] == {"rows": 1, "distinct": 1}


def test_tables(tmp_path, monkeypatch):
    from jobs.terminal.console import Console

    console = Console(record=True, width=120)
    monkeypatch.setattr("jobs.terminal.tables.console", console)
    a, b = write(tmp_path / "a[1].npy", [*EDGES, EDGES[0]]), write(tmp_path / "b.npy", EDGES[:2])
    winnow("info", a, b)
    winnow("diff", a, b)
    words = " ".join(console.export_text().split())
    assert f"1 {a} 6 5 2 2 {b} 2 2 1" in words
    assert "1 6 100.0% 2 33.3% 2 2 100.0% 2 100.0%" in words
    assert "in both 2 2 only in the first 4 3 only in the second 0 0 in both, one more often 1 1" in words


def test_it_is_fast_to_start(tmp_path):
    from tests.test_imports import loaded

    path = write(tmp_path / "a.npy", EDGES)
    code = "from jobs.app import app\nassert not app({!r}, standalone_mode=False)"
    assert loaded(code.format(["subset", "info", path, "--json"])) == set()
