"""Rows that share a key meet: whatever the shards and the memory of a task, they get what the definition
says."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.plan.session import Session
from pipeline.recipe.load import parse
from pipeline.run.compute import compute
from pipeline.run.executor import LocalExecutor
from tests.support.paths import PLUGINS

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
    groups = [name for name in compute_ if name != "words"]
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
