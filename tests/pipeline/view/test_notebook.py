"""The door for notebooks: frames, what-if rules, and objects that show themselves."""

import polars as pl
import pytest

from pipeline.errors import RecipeError
from pipeline.storage.upkeep.compact import compact
from pipeline.view.notebook import open_recipe
from tests.support.opened_pool import computed, opened, write_recipe

KEPT, DROPPED = 8, 4  # of the samples of `opened`: every third caption is shorter than three characters


@pytest.fixture
def recipe(tmp_path):
    return opened(tmp_path)


def test_frames_are_lazy_and_are_joined_by_shard_and_row(recipe):
    pool = open_recipe(str(recipe))
    assert all(isinstance(f, pl.LazyFrame) for f in (pool.samples, pool.columns, pool.verdicts, pool.frame))
    place = ["shard", "row"]
    joined = pool.samples.join(pool.columns, on=place).join(pool.verdicts, on=place).sort(place).collect()
    assert joined.equals(pool.frame.collect())
    assert joined.select(place).rows() == [
        *(("00000", i) for i in range(7)),
        *(("00002", i) for i in range(5)),
    ]
    assert joined["fate"].value_counts().sort("count").rows() == [("dropped", DROPPED), ("kept", KEPT)]


@pytest.mark.parametrize("engine", ["in-memory", "streaming"])
def test_queries_give_what_the_store_holds(recipe, engine):
    pool = open_recipe(str(recipe))
    query = pool.frame.filter(pl.col("fate") == "dropped").select("uid", "caption.characters", "error")
    found = query.collect(engine=engine)
    assert found["caption.characters"].to_list() == [2] * DROPPED
    assert found["error"].to_list() == [None] * DROPPED
    assert query.head(1).collect(engine=engine).equals(found.head(1))
    assert pool.frame.select(pl.len()).collect(engine=engine).item() == KEPT + DROPPED
    assert pool.samples.head(3).select("row").collect(engine=engine)["row"].to_list() == [0, 1, 2]


def test_a_query_reads_only_the_tables_that_it_names(recipe, monkeypatch):
    pool = open_recipe(str(recipe))
    frame = pool.frame
    read = []
    kept = pool.session.store.read_parts
    monkeypatch.setattr(
        pool.session.store, "read_parts", lambda folder, *rest: read.append(folder) or kept(folder, *rest)
    )
    frame.group_by("fate").len().collect()
    assert read == []
    frame.select("caption.words").collect()
    assert set(read) == {pool.session.folder("caption")}


def test_embeddings_have_the_width_that_they_are_stored_with(recipe):
    schema = open_recipe(str(recipe)).columns.collect_schema()
    assert schema["vector.embedding"] == pl.Array(pl.Float16, 8)
    assert schema["caption.words"] == pl.UInt32
    assert list(schema)[:2] == ["shard", "row"]


def test_packed_parts_are_read_like_others(recipe):
    pool = open_recipe(str(recipe))
    before = pool.frame.collect()
    session = pool.session
    names = [shard.name for shard in session.shards]
    assert [compact(session.store, folder, names) for folder in session.part_folders] == [(3, 1)] * 3
    assert open_recipe(str(recipe)).frame.collect().equals(before)


def test_columns_that_are_not_computed_are_not_there(recipe):
    text = recipe.read_text().replace("compute:", "compute:\n  more: {use: caption.Caption}")
    recipe.write_text(text)
    schema = open_recipe(str(recipe)).columns.collect_schema()
    assert [name for name in schema if name.startswith("more.")] == []
    assert "caption.words" in schema


def test_the_funnel_is_an_object_with_a_table(recipe):
    funnel = open_recipe(str(recipe)).funnel()
    assert funnel.decision.kept == KEPT
    row = funnel.frame.row(0, named=True)
    assert row == {
        "rule": "caption.characters",
        "bound": ">= 3",
        "passes": KEPT,
        "fails": DROPPED,
        "fails_only": DROPPED,
        "dropped": DROPPED,
        "failed": 0,
        "left": KEPT,
    }
    assert repr(funnel) == "12 samples, 8 kept\n  caption.characters >= 3: 8 left"
    assert "<b>8 kept</b> (66.7%)" in funnel._repr_html_()
    assert "&gt;= 3" in funnel._repr_html_()


def test_rules_can_be_changed_added_and_taken_out(recipe):
    pool = open_recipe(str(recipe))
    assert pool.with_rules({"caption.characters": {"min": 1}}).decision.kept == KEPT + DROPPED
    assert pool.with_rules({"caption.characters": None}).decision.rules == {}
    both = pool.with_rules({"short": {"column": "caption.words", "max": 1}})
    assert [rule.passes for rule in both.decision.rules.values()] == [KEPT, DROPPED]
    assert both.decision.kept == 0
    again = both.with_rules({"short": None})
    assert again.decision == pool.decision
    assert pool.decision.kept == KEPT


def test_a_changed_rule_keeps_its_other_keys(tmp_path):
    keep = {"short": {"column": "caption.words", "min": 2, "missing": "keep"}}
    pool = open_recipe(str(opened(tmp_path, keep)))
    rule = pool.with_rules({"short": {"top": 0.5}}).session.recipe.keep["short"]
    assert (rule.column, rule.bound, rule.missing) == ("caption.words", "top", "keep")


def test_set_is_that_of_the_command_line(recipe):
    pool = open_recipe(str(recipe), set=["keep.caption.characters.min=1"])
    assert pool.decision.kept == KEPT + DROPPED
    assert repr(pool) == "recipe, 3 of 3 shards: 12 of 12 samples kept"
    assert "recipe, 3 of 3 shards" in pool._repr_html_()


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"caption.characters": {"top": 30}}, "did you mean 0.30"),
        ({"caption.character": {"min": 3}}, "did you mean caption.characters"),
        ({"caption.characters": 3}, "must be a mapping"),
        ({"caption.characters": {}}, "must be a mapping"),
        ({"nothing": None}, "keep has no nothing"),
    ],
)
def test_wrong_rules_are_named(recipe, rules, message):
    with pytest.raises(RecipeError, match=message):
        open_recipe(str(recipe)).with_rules(rules)


def test_a_pool_that_is_not_computed_says_what_to_run(tmp_path, write_pool):
    write_pool(["a caption"])
    pool = open_recipe(str(write_recipe(tmp_path)))
    with pytest.raises(RecipeError, match="winnow compute"):
        pool.funnel()


def test_shards_that_are_not_computed_are_left_out(recipe, write_pool):
    write_pool(["one more caption"], shard="00003")
    pool = open_recipe(str(recipe))
    assert pool.pending == ["00003"]
    assert pool.decision.samples == KEPT + DROPPED
    assert repr(pool).startswith("recipe, 3 of 4 shards")


def test_bounds_are_shown_as_text(tmp_path):
    path = opened(tmp_path, {"caption.language": {"among": ["<script>x</script>", "a\u202eb"]}})
    shown = open_recipe(str(path)).funnel()._repr_html_()
    assert "<script>" not in shown
    assert "&lt;script&gt;x&lt;/script&gt;, a\\u202eb" in shown


# --- samples as cards -------------------------------------------------------------------------------


def test_a_sample_is_explained_with_its_picture(recipe):
    pool = open_recipe(str(recipe))
    uid = pool.samples.select("uid").collect()["uid"][2]
    for word in (uid, uid[:8], "000000002"):
        (card,) = pool.explain(word)
        assert card.explanation.uid == uid
    shown = pool.explain(uid)
    assert repr(shown) == (f"{uid} dropped 00000/2 no\n  caption.characters 2, >= 3: fails")
    page = shown._repr_html_()
    assert page.count("data:image/jpeg;base64,") == 1
    assert "<details" not in page
    assert "&gt;= 3" in page


def test_several_samples_are_explained_in_order_and_unknown_ones_named(recipe):
    pool = open_recipe(str(recipe))
    uids = pool.samples.select("uid").collect()["uid"].to_list()
    assert [card.explanation.uid for card in pool.explain(uids[5], uids[1])] == [uids[5], uids[1]]
    with pytest.raises(RecipeError, match="f" * 32):
        pool.explain("f" * 32)


def test_thumbnails_follow_the_frame(recipe):
    pool = open_recipe(str(recipe))
    rows = pool.frame.select("shard", "row").collect().reverse()
    shown = pool.thumbnails(rows, side=6)
    assert len(shown) == KEPT + DROPPED
    assert [(c.explanation.shard, c.explanation.row) for c in shown] == rows.rows()
    assert {(card.picture.width, card.picture.height) for card in shown} == {(6, 4)}
    assert shown[:2]._repr_html_().count("<img ") == 2
    assert "stopped by caption.characters" in shown._repr_html_()
    assert "passes every rule" in shown._repr_html_()
    assert repr(shown[0]).startswith("Card(")
    assert repr(pool.thumbnails(rows.clear())) == "no samples"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (pl.DataFrame({"shard": ["00000"]}), "no column row"),
        (pl.DataFrame({"shard": ["00000"] * 501, "row": range(501)}), "501 rows, at most 500"),
    ],
)
def test_frames_that_cannot_be_shown_are_named(recipe, rows, message):
    with pytest.raises(RecipeError, match=message):
        open_recipe(str(recipe)).thumbnails(rows)


def test_captions_are_shown_as_text(tmp_path, write_pool):
    write_pool(["<img src=x onerror=alert(1)>", "\u202ekcab", "\U0001f408" * 20_000], images=[None] * 3)
    pool = open_recipe(str(computed(write_recipe(tmp_path))))
    page = pool.thumbnails(pool.frame.select("shard", "row").collect())._repr_html_()
    assert "<img" not in page
    assert "&lt;img src=x onerror=alert(1)&gt;" in page
    assert "\u202e" not in page
    assert "no picture: " in page
    assert len(page) < 100_000
