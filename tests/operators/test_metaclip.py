"""MetaCLIP's operators on columns: matches by list and language, counts, probabilities, draws."""

import json
from typing import Any

import numpy as np
import polars as pl
import pytest

from operators.algorithms import matching
from operators.metaclip import BalanceProbability, BalanceThreshold, EntryCount, EntryMatch
from pipeline.errors import RecipeError
from pipeline.operator import Device
from pipeline.plan.keys import parameters
from pipeline.plan.session import Session
from pipeline.recipe.load import parse
from pipeline.recipe.lookup import build
from pipeline.rule import Cut, Rule
from pipeline.storage.digests import file_digest
from tests.support.samples import uid

ENTRIES = ["dog", "cat", "of", "hot dog"]
NO_STATS: dict[str, pl.DataFrame] = {}


pytestmark = pytest.mark.usefixtures("own_automata")


@pytest.fixture
def metadata(tmp_path):
    """A list on disk: path of `name` with these entries."""

    def write(name: str, entries: list[str]) -> str:
        (tmp_path / name).write_text(json.dumps(entries), encoding="utf-8")
        return str(tmp_path / name)

    return write


def ready(operator: Any, stats: dict[str, pl.DataFrame] = NO_STATS) -> Any:
    made = operator.model_copy()
    made.setup(stats, Device())
    return made


def texts(*captions: str | None, **columns: list[Any]) -> pl.DataFrame:
    return pl.DataFrame({"text": pl.Series(captions, dtype=pl.String), **columns})


def test_entries_of_captions(metadata):
    found = ready(EntryMatch(metadata=metadata("m.json", ENTRIES))).score(
        texts("a hot dog", None, "", "dogs", "cat, dog of cat")
    )
    assert found["ids"].to_list() == [[0, 3], None, [], [], [0, 1, 2]]
    assert found["error"].to_list() == [None, "no caption", None, None, None]
    assert found["language"].null_count() == 5


def test_the_packaged_list():
    """Raise EntryMatch.version when the list changes: nothing else tells the key of a default's content."""
    assert file_digest(str(matching.PACKAGED)) == "2bc2b40bda826c9343c6d6e7e16db965"
    assert EntryMatch.version == 1
    found = ready(EntryMatch()).score(texts("a dog on the beach in New York", "zzzz"))
    names = matching.read_entries("")
    assert {"dog", "beach"} <= {names[i] for i in found["ids"][0]}
    assert found["ids"][1].to_list() == []


def test_a_list_per_language(metadata):
    lists = {"en": metadata("en.json", ENTRIES), "ja": metadata("ja.json", ["猫", "dog"])}
    batch = texts("dog", "黒猫の写真", "dog", None, "dog", at=["en", "ja", "fr", "en", None])
    operator = ready(EntryMatch(metadata=lists, spacing="worldwide", languages="at"))
    found = operator.score(batch)
    assert found["ids"].to_list() == [[0], [0], [], None, []]
    assert found["language"].to_list() == ["en", "ja", None, None, None]
    lists["other"] = metadata("other.json", ["x", "dog"])
    found = ready(EntryMatch(metadata=lists, spacing="worldwide", languages="at")).score(batch)
    assert found["ids"].to_list() == [[0], [0], [1], None, [1]]
    assert found["language"].to_list() == ["en", "ja", "other", None, "other"]


def test_lists_and_languages_go_together(metadata):
    for fields in ({"metadata": {"en": "m.json"}}, {"languages": "text"}):
        with pytest.raises(RecipeError, match=r"languages. if .metadata. has a list per language"):
            build("entries", {"use": "metaclip.EntryMatch", **fields}, ())


def pairs(ids: list[list[int] | None], **columns: list[Any]) -> pl.DataFrame:
    return pl.DataFrame({"entries.ids": pl.Series(ids, dtype=pl.List(pl.UInt32)), **columns})


def counted(batch: pl.DataFrame, **fields: str) -> pl.DataFrame:
    stat = EntryCount(entries="entries.ids", **fields)
    halves = [stat.partial(batch[: len(batch) // 2]), stat.partial(batch[len(batch) // 2 :])]
    return stat.finish(stat.merge(pl.concat(halves)))


def test_counts_by_hand():
    found = counted(pairs([[0, 1], [], [1], None, [1, 3], []]))
    assert found.rows() == [(None, None, 2, 5), (None, 0, 1, 0), (None, 1, 3, 0), (None, 3, 1, 0)]
    assert found.dtypes == [pl.String, pl.UInt32, pl.UInt64, pl.UInt64]


def test_counts_by_language():
    found = counted(pairs([[0], [0], [], None], at=["en", "ja", "ja", None]), languages="at")
    assert found.rows() == [("en", None, 0, 1), ("en", 0, 1, 0), ("ja", None, 1, 2), ("ja", 0, 1, 0)]


def balanced(ids: list[list[int] | None], t: float) -> list[float | None]:
    batch = pairs(ids)
    operator = BalanceProbability(entries="entries.ids", counts="counts", t=t)
    return list(ready(operator, {"counts": counted(batch)}).score(batch)["probability"])


def test_probabilities_by_hand():
    """Counts: entry 0 has 4, entry 1 has 2. t = 2: p = .5 and 1; t = 1: p = .25 and .5."""
    ids = [[0], [0, 1], [0, 1], [0], [], None]
    assert balanced(ids, 2) == pytest.approx([0.5, 1, 1, 0.5, 0, None])
    assert balanced(ids, 1) == pytest.approx([0.25, 0.625, 0.625, 0.25, 0, None])


def test_each_language_has_its_t(metadata):
    counts = [1, 2, 3, 10, 50, 200, 1000, 8734]  # GOLDENS.md: t_en = 51 gives 50 elsewhere
    ids = [[entry] for entry, count in enumerate(counts) for _ in range(count)]
    batch = pl.concat([pairs(ids, at=[language] * len(ids)) for language in ("en", "ja")])
    operator = BalanceProbability(entries="entries.ids", counts="counts", languages="at", t=51, tail_of="en")
    found = ready(operator, {"counts": counted(batch, languages="at")}).score(batch)["probability"]
    assert found[-1] == pytest.approx(50 / 8734)
    assert found[len(ids) - 1] == pytest.approx(51 / 8734)


def skewed(rows: int, seed: int = 0) -> pl.DataFrame:
    """Captions of one to four entries, whose frequencies fall as 1 / rank."""
    rng = np.random.default_rng(seed)
    ranks = np.arange(1, 201)
    share = (1 / ranks) / (1 / ranks).sum()
    ids = [sorted(set(rng.choice(200, rng.integers(1, 5), p=share).tolist())) for _ in range(rows)]
    return pairs(ids, uid=[uid("shard", row) for row in range(rows)])


def test_the_law_of_the_draw():
    """An entry keeps t / count of the captions that it alone matches, within binomial error; of all its
    captions at least that share; and the whole pool what the probabilities add up to."""
    batch, t = skewed(20_000), 150.0
    counts = counted(batch)
    operator = BalanceProbability(entries="entries.ids", counts="counts", t=t)
    probability = ready(operator, {"counts": counts}).score(batch)["probability"]
    kept = Rule(column="p", chance=True, seed=3).verdict(probability, batch["uid"])
    error = np.sqrt((probability * (1 - probability)).sum())
    assert abs(kept.sum() - probability.sum()) < 4 * error
    alone = batch["entries.ids"].list.len() == 1
    for entry, count in counts.drop_nulls("entry").select("entry", "count").iter_rows():
        share = t / max(count, t)
        own = alone & (batch["entries.ids"].list.first() == entry)
        if (n := int(own.sum())) > 30:
            assert abs(kept.filter(own).mean() - share) <= 4.5 * np.sqrt(share * (1 - share) / n) + 1e-12
        having = batch["entries.ids"].list.contains(entry)
        expected = probability.filter(having).mean()
        assert expected >= share - 1e-12


@pytest.mark.parametrize("t", [1, 20, 150, 5000])
def test_a_threshold_decides_as_the_draw_does(t):
    batch = skewed(5000)
    stats = {"counts": counted(batch)}
    probability = ready(BalanceProbability(entries="entries.ids", counts="counts", t=t), stats).score(batch)
    threshold = ready(BalanceThreshold(entries="entries.ids", counts="counts", seed=7), stats).score(batch)
    by_draw = Rule(column="p", chance=True, seed=7).verdict(probability["probability"], batch["uid"])
    by_t = Rule(column="t", max=t).verdict(threshold["t"], batch["uid"])
    assert by_draw.to_list() == by_t.to_list()


def test_a_number_of_samples_as_the_target():
    """The k smallest thresholds are a draw at the largest of them: what t must be to keep k samples."""
    batch = skewed(5000)
    stats = {"counts": counted(batch)}
    threshold = ready(BalanceThreshold(entries="entries.ids", counts="counts"), stats).score(batch)["t"]
    t = float(threshold.sort()[1233])
    kept = Rule(column="t", bottom="1234 samples").verdict(threshold, batch["uid"], Cut(t))
    assert kept.sum() == 1234
    probability = ready(BalanceProbability(entries="entries.ids", counts="counts", t=t), stats).score(batch)
    assert probability["probability"].sum() == pytest.approx(1234, abs=4 * np.sqrt(1234))


def test_thresholds_of_rows_without_entries():
    batch = pairs([[0], [], None], uid=[uid("s", row) for row in range(3)])
    found = ready(BalanceThreshold(entries="entries.ids", counts="counts"), {"counts": counted(batch)}).score(
        batch
    )
    assert found["t"].is_null().to_list() == [False, True, True]
    assert found["error"].to_list() == [None, "no entry matches", None]


def test_tail_of_needs_languages():
    spec = {"use": "metaclip.BalanceProbability", "entries": "e.ids", "counts": "c", "t": 1, "tail_of": "en"}
    with pytest.raises(RecipeError, match=r"languages. if .tail_of. is given, got tail_of: en"):
        build("balance", spec, ())


def test_lists_count_by_content_not_by_path(metadata, write_pool, tmp_path):
    write_pool(["a dog"])

    def key(**lists: str) -> str:
        spec = {"use": "metaclip.EntryMatch", "metadata": lists, "languages": "caption.language"}
        compute = {"caption": {"use": "caption.Caption"}, "entries": spec}
        pool = {"shards": f"{tmp_path}/pool", "store": f"{tmp_path}/store"}
        return Session.open(parse({"pool": pool, "compute": compute})).keys["entries"]

    first = key(en=metadata("a.json", ENTRIES), ja=metadata("b.json", ["x"]))
    assert first == key(en=metadata("c.json", ENTRIES), ja=metadata("d.json", ["x"]))
    assert first != key(en=metadata("a.json", ENTRIES), ja=metadata("b.json", ["y"]))
    assert first != key(en=metadata("a.json", ENTRIES), de=metadata("b.json", ["x"]))


# --- upper and lower case --------------------------------------------------------------------------


def test_case_counts_unless_it_is_folded(metadata):
    """Of entries that are equal without their case, the last one counts, as of equal entries."""
    entries = ["dog", "New York", "cat", "Dog"]
    rows = texts("A DOG", "dog in new york", "Cats", None)
    found = ready(EntryMatch(metadata=metadata("m.json", entries))).score(rows)["ids"].to_list()
    assert found == [[], [0], [], None]
    folded = EntryMatch(metadata=metadata("m.json", entries), fold="case")
    assert ready(folded).score(rows)["ids"].to_list() == [[3], [1, 3], [], None]
    lists = {"en": metadata("en.json", entries), "other": metadata("o.json", ["Hund"])}
    several = EntryMatch(metadata=lists, languages="l.code", fold="case")
    rows = texts("A DOG", "ein HUND", **{"l.code": ["en", "de"]})
    assert ready(several).score(rows)["ids"].to_list() == [[3], [0]]


def test_only_what_changes_results_changes_keys():
    plain = {"metadata": "m.json", "spacing": "english", "languages": ""}
    assert parameters(EntryMatch(metadata="m.json")) == plain
    assert parameters(EntryMatch(metadata="m.json", fold="case")) == {**plain, "fold": "case"}
    worldwide = parameters(EntryMatch(metadata="m.json", spacing="worldwide"))
    assert worldwide == {**plain, "spacing": "worldwide", "marks": 25}


def test_a_list_that_does_not_fit_is_doubted(metadata):
    """Three of four captions match nothing; without their case two of them would."""
    match = EntryMatch(metadata=metadata("m.json", ["dog", "cat"]))
    rows = texts("a dog", "A DOG", "The Cat", "a tree", None)
    assert match.doubts(rows) == (
        "75% of 4 captions match no entry of the list, whose case counts, as published; with `fold: case` 25% "
        "would not",
    )
    folded = EntryMatch(metadata=metadata("m.json", ["dog", "cat"]), fold="case")
    assert folded.doubts(rows)[0].endswith("whatever their case: is it a list for this pool?")
    assert match.doubts(texts("a dog", "a cat", "a dog", "a cat", "a tree")) == ()  # a fifth
    assert match.doubts(texts(None)) == ()
    assert EntryMatch(metadata="s3://bucket/m.json").doubts(rows) == ()  # not fetched for this
