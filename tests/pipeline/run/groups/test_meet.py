"""Rows that share a key meet: whatever the shards and the memory of a task, they get what the definition
says."""

import logging
import shutil
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.plan.session import Session
from pipeline.recipe.load import parse
from pipeline.run.compute import compute
from pipeline.run.executor import LocalExecutor
from pipeline.run.groups.cells import compact
from pipeline.run.groups.tasks import Meet, Scatter
from pipeline.storage.folder import Folder
from tests.support.kill_steps import killed_after
from tests.support.paths import PLUGINS
from tests.support.sizes import either

MEETING = str(PLUGINS / "meeting.py")
LITTLE = 4e-7  # GiB: a task holds about a hundred bytes, so every few rows are a run and a partition
GROUPS = {
    "place": {"use": "meeting.Place", "key": "text"},
    "size": {"use": "meeting.Size", "key": "text"},
    "both": {"use": "meeting.Size", "key": "text", "also": "url"},
    "words": {"use": "meeting.Words"},
    "shared": {"use": "meeting.Shared", "words": "words.words"},
}
Texts = Sequence[str | None]


def uid(number: int) -> str:
    return f"{(number * 7919) % 10007:032x}"


def write_pool(folder: Path, texts: Texts, shards: int) -> None:
    """Tables of captions, cut into so many shards."""
    folder.mkdir(parents=True, exist_ok=True)
    frame = pl.DataFrame(
        {
            "uid": [uid(number) for number in range(len(texts))],
            "text": texts,
            "url": [f"http://{number % 3}" for number in range(len(texts))],
        },
        schema={"uid": pl.String, "text": pl.String, "url": pl.String},
    )
    for shard in range(shards):
        frame.filter(pl.int_range(pl.len()) * shards // max(len(frame), 1) == shard).write_parquet(
            folder / f"{shard:03}.parquet"
        )


def opened(folder: Path, compute_: Any = GROUPS, memory: float = 1.0) -> Session:
    groups = [name for name in compute_ if name not in ("words", "length")]
    data = {
        "pool": {"shards": f"{folder}/pool", "store": f"{folder}/store"},
        "plugins": [MEETING],
        "compute": compute_,
        "run": {name: {"memory": memory} for name in groups},
    }
    return Session.open(parse(data))


def computed(folder: Path, **options: Any) -> pl.DataFrame:
    """Every column of every row, in the order of the pool."""
    session = opened(folder, **options)
    compute(session, LocalExecutor())
    session = session.refreshed()
    names = ["place.place", "place.size", "place.error", "size.size", "size.first", "both.size"]
    names += ["shared.others", "shared.error"]
    return session.columns.read_many([shard.name for shard in session.shards], ["uid", "text", *names])


def expected(texts: Texts) -> list[tuple[Any, ...]]:
    """The same by hand: place, size, error; size, first; size with the URL; others, error."""
    members: dict[str, list[str]] = defaultdict(list)
    words: Counter[str] = Counter()
    pairs = Counter((text, number % 3) for number, text in enumerate(texts) if text is not None)
    for number, text in enumerate(texts):
        if text is not None:
            members[text].append(uid(number))
            words.update(set(text.split()))
    rows: list[tuple[Any, ...]] = []
    for number, text in enumerate(texts):
        own = set((text or "").split())
        others = (sum(words[word] - 1 for word in own), None) if own else (None, "no words.words")
        if text is None:
            rows.append((None, None, "no text", None, None, None, *others))
            continue
        group = sorted(members[text])
        place = group.index(uid(number)) + 1
        rows.append((place, len(group), None, len(group), group[0], pairs[text, number % 3], *others))
    return rows


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.lists(st.sampled_from(["a", "b", "a b", "b c a", "", None]), min_size=1, max_size=40),
    shards=st.integers(1, 5),
    memory=st.sampled_from([LITTLE, 10 * LITTLE, 1.0]),
)
def test_every_row_gets_what_its_group_says(tmp_path_factory, texts, shards, memory):
    folder = tmp_path_factory.mktemp("pool")
    write_pool(folder / "pool", texts, shards)
    frame = computed(folder, memory=memory)
    assert frame["text"].to_list() == texts
    assert frame.drop("uid", "text").rows() == expected(texts)
    assert not (folder / "store" / "groups").exists() or not any((folder / "store" / "groups").rglob("*.*"))


PLACE = {"place": {"use": "meeting.Place", "key": "text", "most": 3}}


def places(folder: Path, memory: float) -> dict[str, tuple[int, int]]:
    """uid -> (place, size) in its group, which has three rows at most."""
    session = opened(folder, PLACE, memory)
    compute(session, LocalExecutor())
    session = session.refreshed()
    names = [shard.name for shard in session.shards]
    frame = session.columns.read_many(names, ["uid", "place.place", "place.size"])
    return {row: (place, size) for row, place, size in frame.iter_rows()}


def test_a_large_group_is_split_alike_whatever_the_shards_and_the_memory(tmp_path, caplog):
    texts = ["hot"] * 40 + ["a", "a", "b"]
    found = []
    for number, (shards, memory) in enumerate([(1, 1.0), (4, LITTLE), (3, 20 * LITTLE)]):
        write_pool(tmp_path / f"{number}" / "pool", texts, shards)
        with caplog.at_level(logging.WARNING, "winnow.run"):
            found.append(places(tmp_path / f"{number}", memory))
    assert found[0] == found[1] == found[2]
    sizes = Counter(size for _, size in list(found[0].values())[:40])
    assert max(sizes) < 10  # 14 parts of about three rows
    assert [found[0][uid(number)][1] for number in (40, 41, 42)] == [2, 2, 1]
    told = {record.getMessage() for record in caplog.records}
    assert told == {"place: groups of more than 3 rows were split: 1 groups, with 40 rows in all"}
    (meta,) = (tmp_path / "0" / "store" / "columns").glob("place-*/meta.json")
    assert '"split": {\n    "groups": 1,\n    "rows": 40\n  }' in meta.read_text()


def test_a_group_that_no_task_could_hold_is_summarised(tmp_path):
    write_pool(tmp_path / "pool", ["hot"] * 500 + ["a", "a"], 5)
    frame = computed(tmp_path, memory=LITTLE)
    assert frame["size.size"].to_list() == [500] * 500 + [2, 2]
    first = [min(map(uid, range(500)))] * 500 + [min(uid(500), uid(501))] * 2
    assert frame["size.first"].to_list() == first


def test_shards_of_very_different_sizes_meet(tmp_path):
    write_pool(tmp_path / "pool", ["a"] * 60, 1)
    write_pool(tmp_path / "more", ["a", "b"], 1)
    shutil.move(tmp_path / "more" / "000.parquet", tmp_path / "pool" / "001.parquet")
    frame = computed(tmp_path, memory=10 * LITTLE)  # the first shard is read in parts, the second at once
    assert frame["shared.others"].to_list() == [60] * 61 + [0]


REASONS = {
    "length": {"use": "caption.Caption"},
    "best": {"use": "duplicates.Exact", "key": "text", "best": "length.words"},
    "first": {"use": "meeting.Place", "key": "best.first"},
    "pair": {"use": "duplicates.Exact", "key": ["best.first", "url", "text"], "best": "length.words"},
}


def test_a_row_without_a_group_says_which_part_of_its_key_is_missing(tmp_path):
    write_pool(tmp_path / "pool", ["word", "word", None], 1)
    session = opened(tmp_path, REASONS)
    compute(session, LocalExecutor())
    names = ["best.error", "first.error", "pair.error"]
    rows = session.refreshed().columns.read("000", names).rows()
    assert rows == [
        (None, "no best.first", "no best.first"),
        (None, None, None),
        ("no text", "no text", "no text"),
    ]


def tree_of(store: Path) -> dict[str, bytes]:
    return {str(p.relative_to(store)): p.read_bytes() for p in store.rglob("columns/**/*.parquet")}


def test_a_pass_that_is_killed_at_any_step_goes_on_and_ends_alike(tmp_path, monkeypatch):
    texts = [f"{number % 7} {number % 3}" for number in range(30)]
    write_pool(tmp_path / "pool", texts, 3)
    computed(tmp_path, memory=LITTLE)
    store = tmp_path / "store"
    expected_tree = tree_of(store)
    for steps in range(0, 400, either(29, 3)):
        shutil.rmtree(store)
        with killed_after(monkeypatch, steps, (Folder, "publish_file"), (Folder, "remove")) as run:
            computed(tmp_path, memory=LITTLE)
        if run.ended:
            break
        computed(tmp_path, memory=LITTLE)
        assert tree_of(store) == expected_tree
        assert not [*(store / "groups").rglob("*.parquet")]
    else:
        raise AssertionError("never ran to its end")


@pytest.mark.parametrize("removed", [0, 1, 5])
def test_what_a_pass_left_that_was_killed_as_it_tidied_up_is_removed_by_the_next_run(
    tmp_path, monkeypatch, removed
):
    write_pool(tmp_path / "pool", [f"{number % 7}" for number in range(60)], 3)
    only = {"size": GROUPS["size"]}
    left = list[str]()

    def killed(self: Folder, relatives: Sequence[str]) -> None:
        parts = [name for name in relatives if name.startswith("groups/")]
        if not parts:
            return remove(self, relatives)
        remove(self, parts[:removed])
        left.extend(parts[removed:])
        raise KeyboardInterrupt

    remove = Folder.remove
    session = opened(tmp_path, only, LITTLE)
    with monkeypatch.context() as patch:
        patch.setattr(Folder, "remove", killed)
        with pytest.raises(KeyboardInterrupt):
            compute(session, LocalExecutor())
    groups = tmp_path / "store" / "groups"
    assert len([*groups.rglob("*.parquet")]) == len(left) > 0
    expected_tree = tree_of(tmp_path / "store")
    compute(opened(tmp_path, only, LITTLE), LocalExecutor())
    assert not [*groups.rglob("*.parquet")]
    assert tree_of(tmp_path / "store") == expected_tree


def test_what_was_done_is_not_done_again(tmp_path, monkeypatch):
    write_pool(tmp_path / "pool", [f"{number % 5}" for number in range(60)], 3)
    done: list[tuple[str, int]] = []
    stop = {"after": 5}

    def counting(task: type, name: str) -> None:
        write = getattr(task, name)

        def step(self: Any, number: int) -> Any:
            if len(done) == stop["after"]:
                raise KeyboardInterrupt
            done.append((task.__name__, number))
            return write(self, number)

        monkeypatch.setattr(task, name, step)

    counting(Scatter, "_write")
    counting(Meet, "_write")
    only = {"size": GROUPS["size"]}
    with pytest.raises(KeyboardInterrupt):
        compute(opened(tmp_path, only, LITTLE), LocalExecutor())
    assert len(done) == 5
    stop["after"] = -1
    compute(opened(tmp_path, only, LITTLE), LocalExecutor())
    assert len(done) == len(set(done))
    before = len(done)
    compute(opened(tmp_path, only, LITTLE), LocalExecutor())
    assert len(done) == before


def test_another_shard_is_another_result(tmp_path):
    write_pool(tmp_path / "pool", ["a", "a", "b"], 1)
    assert computed(tmp_path)["size.size"].to_list() == [2, 2, 1]
    shutil.copy(tmp_path / "pool" / "000.parquet", tmp_path / "pool" / "001.parquet")
    assert computed(tmp_path)["size.size"].to_list() == [4, 4, 2] * 2


def test_rows_that_are_held_keep_no_others_in_memory():
    def held(frame: pl.DataFrame) -> int:
        buffers = frame["uid"].to_arrow(compat_level=pl.CompatLevel.newest()).buffers()
        return sum(buffer.size for buffer in buffers if buffer is not None)

    whole = pl.DataFrame({"uid": [uid(number) for number in range(4000)]})
    few = whole.filter(pl.int_range(pl.len()) % 2 == 0)
    assert held(few) > 32 * 4000
    assert held(compact(few)) < 50 * 2000
    assert compact(few).equals(few)
    assert compact(whole[:0]).equals(whole[:0])
