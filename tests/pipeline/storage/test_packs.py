"""Packed or not, the same is read: verdicts, exports, footers, resumed passes, wherever `compact` was
killed."""

import os
import pickle
import uuid

import orjson
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from pipeline.decide.decide import decide
from pipeline.plan.session import Session
from pipeline.preflight.checks import check_parts
from pipeline.preflight.measure import MeasuredOn
from pipeline.preflight.preview import preview
from pipeline.recipe.load import parse
from pipeline.run.compute import compute
from pipeline.run.executor import LocalExecutor
from pipeline.storage.folder import Folder
from pipeline.storage.store import Store
from pipeline.storage.upkeep import compact as module
from pipeline.storage.upkeep.compact import compact, runs
from tests.support.command import winnow
from tests.support.folders import tree

FOLDER = "columns/x-1"
SHARDS = [f"deep/{number:03d}" for number in range(20)]


@pytest.fixture(params=["local", "memory"])
def store(request, tmp_path) -> Store:
    root = str(tmp_path / "store") if request.param == "local" else f"memory://{uuid.uuid4().hex}/store"
    made = Store(root)
    for number, shard in enumerate(SHARDS):
        write(made, shard, number)
    return made


def write(store: Store, shard: str, number: int) -> None:
    frame = pl.DataFrame(
        {"a": [number * 100 + i for i in range(number % 4)], "t": [shard] * (number % 4)},
        schema={"a": pl.Int64, "t": pl.String},
    )
    store.write(f"{FOLDER}/{shard}.parquet", frame, {"damage": {"offset": number}} if number % 5 == 0 else {})


def everything(store: Store) -> tuple:
    """What readers ask of a folder."""
    wanted = [*SHARDS, "absent"]
    return store.part_names(FOLDER), store.footers(FOLDER, wanted), store.row_counts(FOLDER, wanted)


def test_reads_are_the_same(store, monkeypatch):
    monkeypatch.setattr(module, "PARTS_PER_PACK", 6)
    some = [*SHARDS[3:5], SHARDS[15], *SHARDS[7:10][::-1], SHARDS[8]]  # not in order, across packs, one twice
    before, whole = everything(store), store.read_parts(FOLDER, SHARDS)
    picked, one = store.read_parts(FOLDER, some, ["t"]), store.read_parts(FOLDER, [SHARDS[0]])
    assert compact(store, FOLDER, SHARDS[:17]) == (17, 3)
    assert store.root.file_names(FOLDER, ".parquet") == set(SHARDS[17:])
    assert everything(store) == before
    assert list(store.footers(FOLDER, SHARDS)) == SHARDS
    assert_frame_equal(store.read_parts(FOLDER, SHARDS), whole)
    assert_frame_equal(store.read_parts(FOLDER, some, ["t"]), picked)
    assert_frame_equal(store.read_parts(FOLDER, [SHARDS[0]]), one)
    for shard in SHARDS:
        assert store.footer(FOLDER, shard) == before[1][shard]
    assert store.footer(FOLDER, "absent") is None
    for absent in (["absent"], [SHARDS[0], "absent"]):
        with pytest.raises(FileNotFoundError):
            store.read_parts(FOLDER, absent)
    with pytest.raises(FileNotFoundError):
        Store(f"{store.root.base}/elsewhere").part_size(FOLDER, "absent")


def test_parts_that_come_later_are_packed_beside_the_others(store):
    whole = store.read_parts(FOLDER, SHARDS)
    assert compact(store, FOLDER, SHARDS[::2]) == (10, 1)
    assert compact(store, FOLDER, SHARDS[::2]) == (1, 1)  # nothing is left to do
    assert compact(store, FOLDER, SHARDS) == (11, 2)
    assert store.root.file_names(FOLDER, ".parquet") == set()
    assert_frame_equal(store.read_parts(FOLDER, SHARDS), whole)


def test_another_process_finds_what_was_packed_meanwhile(store):
    """It looked before: nothing was packed then."""
    reader = pickle.loads(pickle.dumps(store))
    other = pickle.loads(pickle.dumps(store))
    whole = reader.read_parts(FOLDER, SHARDS)
    assert other.pack_index(FOLDER) is None
    compact(store, FOLDER, SHARDS)
    assert reader.pack_index(FOLDER) is None
    assert_frame_equal(reader.read_parts(FOLDER, SHARDS), whole)
    assert other.footers(FOLDER, SHARDS[:1])[SHARDS[0]].rows == 0


@pytest.fixture
def reads(monkeypatch) -> list[str]:
    """The files that are read whole, by path."""
    seen: list[str] = []
    original = Folder.read
    monkeypatch.setattr(Folder, "read", lambda self, path: seen.append(path) or original(self, path))
    return seen


def test_a_pack_on_object_storage_is_fetched_once(reads):
    store = Store(f"memory://{uuid.uuid4().hex}/store")
    for number, shard in enumerate(SHARDS):
        write(store, shard, number)
    whole = store.read_parts(FOLDER, SHARDS)
    compact(store, FOLDER, SHARDS)
    reader = pickle.loads(pickle.dumps(store))
    reads.clear()
    assert_frame_equal(pl.concat([reader.read_parts(FOLDER, [shard]) for shard in SHARDS]), whole)
    assert reads == [f"packs/{FOLDER}.parquet", f"packs/{FOLDER}/000000.parquet"]


def test_a_pickled_store_holds_nothing(store, reads):
    compact(store, FOLDER, SHARDS)
    store.read_parts(FOLDER, SHARDS)
    assert list(store.__getstate__()) == ["root"]
    reader = pickle.loads(pickle.dumps(store))
    reads.clear()
    reader.read_parts(FOLDER, SHARDS)
    assert reads[0] == f"packs/{FOLDER}.parquet"


@pytest.mark.parametrize("allowed", range(6))
def test_killed_at_any_step(store, allowed, monkeypatch):
    """Steps that change storage: two packs, the index, removals; here each in turn is the last."""
    monkeypatch.setattr(module, "PARTS_PER_PACK", 10)
    monkeypatch.setattr(module, "PACKS_PER_SAVE", 1)
    whole, footers = store.read_parts(FOLDER, SHARDS), everything(store)
    steps: list[str] = []

    def until(original):
        def step(self, *args, **options):
            steps.append(args[0])
            if len(steps) > allowed:
                raise KeyboardInterrupt
            return original(self, *args, **options)

        return step

    with monkeypatch.context() as limited:
        for name in ("publish", "remove"):
            limited.setattr(Folder, name, until(getattr(Folder, name)))
        with pytest.raises(KeyboardInterrupt):
            compact(store, FOLDER, SHARDS)
    again = Store(store.root.base if store.root.local else f"memory://{store.root.base}")
    assert_frame_equal(again.read_parts(FOLDER, SHARDS), whole)
    assert everything(again) == footers
    assert compact(again, FOLDER, SHARDS)[1] == 2
    assert_frame_equal(again.read_parts(FOLDER, SHARDS), whole)
    assert everything(again) == footers
    assert again.root.file_names(FOLDER, ".parquet") == set()


def test_runs():
    sizes = {**dict.fromkeys("abcdefgh", 10), "d": module.SMALL, "g": module.SMALL}
    assert list(runs("abcdefgh", sizes)) == [["a", "b", "c"], ["e", "f"]]
    many = [f"{i}" for i in range(130)]
    assert [len(run) for run in runs(many, dict.fromkeys(many, 1))] == [64, 64, 2]


# --- a pool ---------------------------------------------------------------------------------------


@pytest.fixture
def pool(write_pool, planted, tmp_path):
    """A function that opens a session on twelve small shards, one of them broken off."""
    for number in range(12):
        path = write_pool([f"{'a red ' * (row + number % 3)}dog" for row in range(4)], shard=f"{number:03d}")
    path.write_bytes(path.read_bytes()[:7000])

    def opened(**compute) -> Session:
        recipe = {
            "pool": {"shards": str(tmp_path / "pool" / "*.tar"), "store": str(tmp_path / "store")},
            "compute": {
                "length": {"use": "planted.Length"},
                "bright": {"use": "planted.Brightness"},
                **compute,
            },
            "keep": {"length.value": {"top": 0.7}, "bright.mean": {"min": 20}},
            "export": {"shards": str(tmp_path / "out"), "subset": str(tmp_path / "subset.npy")},
            "plugins": [planted],
        }
        return Session.open(parse(recipe))

    return opened


def test_a_pool_decides_exports_and_goes_on_the_same(pool, tmp_path):
    from jobs.steps import run_all

    run_all(pool(), local=True, quiet=True)
    store, names = tmp_path / "store", [f"{number:03d}" for number in range(12)]
    before = [tree(store / "decisions"), tree(tmp_path / "out"), (tmp_path / "subset.npy").read_bytes()]
    session = pool()
    for folder in session.part_folders:
        assert compact(session.store, folder, names) == (12, 1)
    result = run_all(pool(), local=True, quiet=True)
    assert list(result.books.damaged) == ["011"]
    assert result.written["shards"].written == 0
    log = compute(pool(), LocalExecutor())
    assert not log.tally.rows  # nothing was done again
    for path in (store / "decisions", tmp_path / "out"):
        os.rename(path, f"{path}.before")
    run_all(pool(), local=True, quiet=True)
    assert [
        tree(store / "decisions"),
        tree(tmp_path / "out"),
        (tmp_path / "subset.npy").read_bytes(),
    ] == before
    # what is computed later reads packed samples and columns, and images out of the tars
    more = pool(
        plus={"use": "planted.Plus", "of": "length.value"},
        red={"use": "planted.Redness"},
        seen={"use": "planted.Histogram", "of": "length.value"},
        often={"use": "planted.Frequency", "of": "length.value", "table": "seen"},
    )
    assert not compute(more, LocalExecutor()).pending
    found = more.columns.read_many(names, ["plus.value", "length.value", "red.red", "often.count"])
    assert (found["plus.value"] == found["length.value"] + 1).all()
    assert found["often.count"].min() >= 1


def test_measuring_reads_packed_parts(pool):
    compute(pool(), LocalExecutor())
    session = pool()
    for folder in session.part_folders:
        compact(session.store, folder, [shard.name for shard in session.shards])
    found = preview(pool(plus={"use": "planted.Plus", "of": "length.value"}), count=3)
    assert found.measured == MeasuredOn(shards=3, samples=12)
    assert list(found.estimate.operators) == ["plus"]


def test_one_shard_more(pool, write_pool):
    compute(pool(), LocalExecutor())
    session = pool()
    for folder in session.part_folders:
        compact(session.store, folder, [shard.name for shard in session.shards])
    write_pool(["one", "two"], shard="012")
    log = compute(pool(), LocalExecutor())
    assert log.tally.rows["length"] == 2
    assert decide(pool()).shards == 13


def test_a_changed_tar_leaves_the_packs(pool, write_pool):
    compute(pool(), LocalExecutor())
    session = pool()
    compact(session.store, "samples", [shard.name for shard in session.shards])
    write_pool(["other"], shard="003")
    log = compute(pool(red={"use": "planted.Redness"}), LocalExecutor())
    assert log.pending == {}
    now = pool(red={"use": "planted.Redness"})
    assert now.columns.read("003", ["text", "length.value"]).rows() == [("other", 5.0)]
    for folder in now.part_folders:
        assert now.store.row_counts(folder, ["002", "003", "004"]) == {"002": 4, "003": 1, "004": 4}
    assert "003" not in now.store.pack_index("samples").shards


def test_plan_says_when_it_is_worth_it(pool, monkeypatch):
    monkeypatch.setattr("pipeline.preflight.checks.MANY_PARTS", 10)
    session = compute(pool(), LocalExecutor()).session
    rows = {shard.name: shard.rows for shard in session.shards}
    [warning] = check_parts(session, rows)
    assert "12 small parts" in warning
    assert "winnow compact" in warning
    compact(session.store, "samples", [shard.name for shard in session.shards])
    assert check_parts(session, rows) == []


def test_the_command(pool, tmp_path):
    session = pool()
    session = compute(session, LocalExecutor()).session
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        f"pool: {{shards: '{tmp_path}/pool/*.tar', store: {tmp_path}/store}}\n"
        f"compute: {{length: {{use: planted.Length}}, bright: {{use: planted.Brightness}}}}\n"
        f"plugins: [{session.recipe.plugins[0]}]\n"
    )
    done = winnow("compact", recipe)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{tmp_path}/store\n"
    assert [line.split()[-2:] for line in done.stderr.splitlines() if "columns/" in line] == [["12", "1"]] * 2
    again = winnow("compact", recipe, "--json")
    assert [(entry["before"], entry["after"]) for entry in orjson.loads(again.stdout)] == [(1, 1)] * 3
