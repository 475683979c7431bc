"""Which passes are missing, and which operators share a stage. Plans are pure: no files."""

import itertools
import random

import pytest

from pipeline.plan.passes import ROWS, ScorePass, Stage, StatPass, Stored, plan
from pipeline.plan.session import Session
from pipeline.recipe.load import parse
from pipeline.recipe.sections import Recipe, Resources
from pipeline.run.compute import compute
from pipeline.run.executor import LocalExecutor
from pipeline.storage import layout
from tests.pipeline.plan.chains import CHAIN, SHARDS, key


def passes(recipe: Recipe, stored: Stored = Stored(), shards=SHARDS, only=()) -> list[tuple]:  # noqa: B008
    """Passes as plain tuples: (names, shards, reads tars) or (stat, shards)."""
    return [
        (todo.names, "".join(s.name for s in todo.shards), todo.reads_pool)
        if isinstance(todo, ScorePass)
        else (todo.name, "".join(s.name for s in todo.shards))
        for todo in plan(recipe, shards, key(recipe, shards), stored, only)
    ]


def holding(recipe: Recipe, stats=(), shards=SHARDS, **columns: str) -> Stored:
    """A store that holds, by operator (or `samples`), some shards."""
    found = key(recipe, shards)
    parts = {
        n if n == "samples" else layout.columns_folder(n, found[n]): set(names)
        for n, names in columns.items()
    }
    return Stored(parts, {layout.stat(name, found[name]) for name in stats})


# --- passes ----------------------------------------------------------------------------------------


def test_from_nothing_a_stat_is_a_barrier(recipe):
    assert passes(recipe()) == [
        (("length", "plus"), "abc", True),  # the first pass reads the tars, to index them
        ("histogram", "abc"),
        (("frequency", "more"), "abc", False),  # by then they are indexed
    ]


def test_pure(recipe):
    checked = recipe()
    stored = holding(checked, samples="ab", length="a")
    first = plan(checked, SHARDS, key(checked), stored)
    assert plan(checked, SHARDS, key(checked), stored) == first
    assert stored == holding(checked, samples="ab", length="a")


def test_what_is_stored_is_not_planned_again(recipe):
    checked = recipe()
    assert passes(checked, holding(checked, samples="abc", length="abc", plus="abc")) == [
        ("histogram", "abc"),
        (("frequency", "more"), "abc", False),
    ]
    done = dict.fromkeys(("samples", "length", "plus", "frequency", "more"), "abc")
    assert passes(checked, holding(checked, ["histogram"], **done)) == []
    assert passes(checked, holding(checked, **done)) == [("histogram", "abc")]


def test_shards_that_lack_different_columns_are_in_different_passes(recipe):
    checked = recipe()
    stored = holding(checked, ["histogram"], samples="ab", length="a", plus="ab", frequency="ab", more="a")
    assert passes(checked, stored) == [
        (("length", "more"), "b", False),
        (("length", "plus", "frequency", "more"), "c", True),
    ]


def test_what_is_stored_somewhere_is_never_computed_again_there(recipe):
    """Any state of the store: each (operator, shard) is planned once if it is missing, else not at all."""
    checked = recipe()
    rng = random.Random(0)
    scores = ("length", "plus", "frequency", "more")
    for _ in range(200):
        held = {n: "".join(s for s in "abc" if rng.random() < 0.5) for n in ("samples", *scores)}
        stored = holding(checked, rng.choice([[], ["histogram"]]), **held)
        planned = [
            (name, shard.name)
            for todo in plan(checked, SHARDS, key(checked), stored)
            if isinstance(todo, ScorePass)
            for name, shard in itertools.product(todo.names, todo.shards)
        ]
        assert sorted(planned) == sorted((n, s) for n in scores for s in "abc" if s not in held[n])


def test_a_stat_over_sample_columns_alone_still_indexes_first(recipe):
    checked = recipe({"h": {"use": "planted.Histogram", "of": "width"}})
    assert passes(checked) == [((), "abc", True), ("h", "abc")]
    assert passes(checked, holding(checked, samples="ab")) == [((), "c", True), ("h", "abc")]
    assert passes(checked, holding(checked, samples="abc")) == [("h", "abc")]


def test_no_operators_means_index_only(recipe):
    checked = recipe({})
    assert passes(checked) == [((), "abc", True)]
    assert passes(checked, holding(checked, samples="abc")) == []


def test_no_shards_means_nothing_to_do(recipe):
    """All shards unreadable: a Stat over none of them must not be tried."""
    assert passes(recipe(), shards=()) == []


def test_pixels_need_the_tars_even_when_indexed(recipe):
    checked = recipe({"bright": {"use": "planted.Brightness"}, "length": {"use": "planted.Length"}})
    assert passes(checked, holding(checked, samples="abc", bright="ab")) == [
        (("length",), "ab", False),
        (("bright", "length"), "c", True),
    ]


def test_encoded_images_need_the_tars_too_in_batches_as_small(recipe):
    checked = recipe({"digest": {"use": "duplicates.ImageDigest"}, "length": {"use": "planted.Length"}})
    indexed = holding(checked, samples="abc", length="abc")
    assert passes(checked, indexed) == [(("digest",), "abc", True)]
    (todo,) = plan(checked, SHARDS, key(checked), indexed)
    assert [stage.rows for stage in todo.stages] == [ROWS["images"]]


@pytest.mark.parametrize(
    ("only", "expected"),
    [
        (["length"], [(("length",), "abc", True)]),
        (["histogram"], [(("length",), "abc", True), ("histogram", "abc")]),
        (["more"], [(("length",), "abc", True), ("histogram", "abc"), (("frequency", "more"), "abc", False)]),
        (["plus"], [(("length", "plus"), "abc", True)]),
    ],
)
def test_only_closes_over_needs(recipe, only, expected):
    assert passes(recipe(), only=only) == expected


def test_the_order_of_the_recipe_does_not_matter(recipe):
    expected = passes(recipe())
    for order in itertools.permutations(CHAIN):
        assert passes(recipe({name: CHAIN[name] for name in order})) == expected


# --- stages ----------------------------------------------------------------------------------------


FOUR = {
    "bright": {"use": "planted.Brightness"},
    "red": {"use": "planted.Redness"},
    "length": {"use": "planted.Length"},
    "more": {"use": "planted.Plus", "of": "bright.mean"},
}


def stages(checked: Recipe) -> tuple[Stage, ...]:
    (todo,) = plan(checked, SHARDS, key(checked), Stored())
    assert isinstance(todo, ScorePass)
    return todo.stages


def test_equal_resources_share_a_stage(recipe):
    (stage,) = stages(recipe(FOUR))
    assert sorted(stage.names) == ["bright", "length", "more", "red"]
    assert stage.names.index("bright") < stage.names.index("more")
    assert stage.resources == Resources()


def test_stages_group_by_resources(recipe):
    gpu = {"gpus": 1, "batch_size": 64}
    found = stages(recipe(FOUR, run={"bright": gpu, "red": gpu}))
    assert [(set(s.names), s.resources.gpus) for s in found] == [
        ({"bright", "red"}, 1),
        ({"length", "more"}, 0),
    ]


def test_what_reads_a_column_never_runs_before_it(recipe):
    """`more` wants the resources of the first stage, but its input comes from the second."""
    found = stages(recipe(FOUR, run={"bright": {"gpus": 1}, "length": {"gpus": 0}}))
    order = [name for stage in found for name in stage.names]
    assert order.index("bright") < order.index("more")
    found = stages(recipe({**FOUR, "a_first": {"use": "planted.Length"}}, run={"bright": {"gpus": 1}}))
    order = [name for stage in found for name in stage.names]
    assert order.index("bright") < order.index("more")
    assert sum("a_first" in stage.names for stage in found) == 1


def test_an_operator_called_as_a_sample_column_is(recipe):
    """`text` is the caption, even where an operator is called `text`."""
    compute = {
        "text": {"use": "planted.Plus", "of": "length.value"},
        "length": {"use": "planted.Length"},
        "more": {"use": "planted.Plus", "of": "text.value"},
    }
    checked = recipe(compute)
    assert list(checked.compute) == ["length", "text", "more"]
    assert passes(checked) == [(("length", "text", "more"), "abc", True)]
    assert passes(checked, only=["length"]) == [(("length",), "abc", True)]
    without = recipe({"length": compute["length"]})
    assert key(checked)["length"] == key(without)["length"]


# --- in practice -----------------------------------------------------------------------------------


def test_a_stat_reads_columns_and_a_score_reads_the_stat(recipe, write_pool, tmp_path):
    write_pool(["aa", "bbb", "cc", None], shard="0")
    write_pool(["dd", "eeee"], shard="1")
    checked = parse({
        "pool": {"shards": str(tmp_path / "pool"), "store": str(tmp_path / "store")},
        "compute": CHAIN, "plugins": recipe().plugins,
    })  # fmt: skip
    session = Session.open(checked)
    seen = []
    log = compute(
        session, LocalExecutor(), observe=lambda todo: seen.append(type(todo)) or (lambda event: None)
    )
    session = log.session
    assert seen == [ScorePass, StatPass, ScorePass]
    table = session.store.read(layout.stat("histogram", session.keys["histogram"]))
    assert table.rows() == [(2.0, 3), (3.0, 1), (4.0, 1)]
    frame = session.store.read(f"{session.folder('frequency')}/0.parquet")
    assert frame["frequency.count"].to_list() == [3, 1, 3, None]
    assert session.store.read(f"{session.folder('more')}/1.parquet")["more.value"].to_list() == [5.0, 3.0]
    compute(session, LocalExecutor(), observe=lambda todo: pytest.fail("nothing is missing"))
