"""A pool of tables from plan to explain."""

import gzip
from pathlib import Path

import polars as pl
import pytest

from pipeline.decide.books import losses
from pipeline.decide.decide import decide
from pipeline.decide.explain import explain
from pipeline.errors import RecipeError
from pipeline.plan.passes import plan
from pipeline.plan.session import Session
from pipeline.plan.stored import complete, list_stored
from pipeline.pool.kinds.tables import Tables
from pipeline.pool.shards import Shard
from pipeline.pool.table_reader import read_table
from pipeline.preflight.preview import preview
from pipeline.recipe.load import parse
from pipeline.recipe.pool_section import PARTS
from pipeline.run.compute import compute
from pipeline.run.executor import LocalExecutor
from tests.pipeline.pool.made_tables import many, md5
from tests.support.folders import tree
from tests.support.paths import PLUGINS

# --- a pool of tables


CAPTIONS = ["a dog on a lawn", "a cat", "the red car", "dog", "a dog and a cat"]


@pytest.fixture
def pool(tmp_path):
    """Three tables: parquet with uids, a truncated TSV, JSON lines with a broken one."""
    folder = tmp_path / "pool"
    folder.mkdir()
    uids = [md5(str(i)) for i in range(5)]
    urls = [f"http://x/{i}" for i in range(5)]
    pl.DataFrame({"uid": uids, "text": CAPTIONS, "url": urls}).write_parquet(folder / "a.parquet")
    whole = gzip.compress(("text\turl\n" + many(20_000)).encode())
    (folder / "b.tsv.gz").write_bytes(whole[: len(whole) // 2])
    (folder / "c.jsonl").write_text('{"caption": "a dog", "url": "http://x/c"}\n{"caption":\n')
    return tmp_path


def recipe(place: Path, store: str = "store", **more):
    return parse(
        {
            "name": "test",
            "plugins": [str(PLUGINS)],
            "pool": {"shards": str(place / "pool"), "store": str(place / store), **more.pop("pool", {})},
            "compute": {
                "caption": {"use": "caption.Caption"},
                "words": {"use": "rare_words.WordCount"},
                "rare": {"use": "rare_words.RarestWord", "words": "words"},
                **more.pop("compute", {}),
            },
            "keep": {"caption.words": {"min": 2}, "rare.count": {"min": 2}},
            **more,
        }
    )


def test_plan_compute_keep_and_explain(pool):
    session = Session.open(recipe(pool))
    assert [shard.name for shard in session.shards] == ["a", "b", "c"]
    megabytes = sum(path.stat().st_size for path in (pool / "pool").iterdir()) / 1e6
    before = preview(session).passes
    assert [step.reads for step in before] == [f"tables, {megabytes:,.0f} MB", "columns", "columns"]
    log = compute(session, LocalExecutor())
    session = log.session
    assert (log.pending, preview(session).passes) == ({}, [])
    broken = losses(session).damaged
    assert list(broken) == ["b"]
    assert "the file ends inside its gzip data (byte " in broken["b"]
    result = decide(session)
    rows = session.store.row_counts("samples", ["a", "b", "c"])
    assert (rows["a"], rows["c"]) == (5, 2)
    assert result.samples == sum(rows.values())
    assert result.rules["caption.words"].failed == {"no caption": 1}  # the broken line
    words = dict(session.store.read(f"stats/words-{session.keys['words']}.parquet").iter_rows())
    assert (words["dog"], words["lawn"], words["caption"]) == (4, 1, rows["b"])
    kept = session.store.kept(f"decisions/{_decision(session)}", "a").to_list()
    assert kept == [False, True, False, False, False]  # lawn, red, one word only, and: rare
    (entry,) = explain(session, [md5("0")])
    assert (entry.text, entry.keep) == (CAPTIONS[0], False)
    assert [(rule.value, rule.verdict) for rule in entry.rules] == [(5, "passes"), (1, "fails")]


def _decision(session: Session) -> str:

    return session.decisions.removeprefix("decisions/")


def test_the_second_pass_reads_the_store(pool):
    compute(Session.open(recipe(pool)), LocalExecutor())
    more = Session.open(recipe(pool, compute={"slow": {"use": "faulty.Slow", "seconds": 0}}))
    assert [
        (todo.names, todo.reads_pool) for todo in plan(more.recipe, more.shards, more.keys, list_stored(more))
    ] == [(("slow",), False)]  # the tables are not opened
    assert compute(more, LocalExecutor()).pending == {}
    assert more.store.read(f"{more.folder('slow')}/a.parquet")["slow.length"].to_list() == [15, 5, 11, 3, 15]


def test_batches_of_any_size_give_the_same_bytes(pool):
    compute(Session.open(recipe(pool, "one")), LocalExecutor())
    small = {name: {"batch_size": 100} for name in ("caption", "rare")}
    compute(Session.open(recipe(pool, "two", run=small)), LocalExecutor())
    one, two = tree(pool / "one"), tree(pool / "two")
    assert one == two
    assert len(one) == 3 * 3 + 2 + 2 + 1  # samples and two Scores of 3 tables; meta.json; a Stat; store.json


@pytest.mark.usefixtures("local_ray")
@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_ray_equals_the_plain_loop_to_the_byte(pool):
    from pipeline.run.on_ray import RayExecutor

    compute(Session.open(recipe(pool, "local")), LocalExecutor())
    made = recipe(pool, "ray", run={name: {"workers": 2, "cpus": 0.5} for name in ("caption", "rare")})
    assert compute(Session.open(made), RayExecutor(made)).pending == {}
    assert tree(pool / "ray") == tree(pool / "local")


def test_a_table_without_captions_stays_pending_and_the_rest_is_done(pool):
    (pool / "pool" / "d.tsv").write_text("a\tb\n1\t2\n")
    session = Session.open(recipe(pool))
    log = compute(session, LocalExecutor())
    expected = "no column text or caption or TEXT or alt (pool.columns.text); there are: a, b"
    assert log.pending == {"d": f"{pool}/pool/d.tsv: {expected}"}
    assert [shard.name for shard in complete(log.session).shards] == ["a", "b", "c"]
    again = compute(Session.open(recipe(pool)), LocalExecutor())
    assert list(again.pending) == ["d"]


def test_where_the_first_table_lacks_a_column_nothing_is_done(pool):
    session = Session.open(recipe(pool, pool={"columns": {"text": "TITLE"}}))
    expected = (
        r"pool\.shards: .*a\.parquet: no column TITLE \(pool\.columns\.text\); there are: uid, text, url"
    )
    for command in (
        lambda: compute(session, LocalExecutor()),
        lambda: preview(session),
        lambda: complete(session),
    ):
        with pytest.raises(RecipeError, match=expected):
            command()
    assert not (pool / "store" / "columns").exists()
    (pool / "pool" / "a.parquet").unlink()  # what cannot be read at all is for the pass to tell
    log = compute(session, LocalExecutor())
    assert log.pending["a"].startswith("FileNotFoundError")


def test_a_store_remembers_how_tables_were_read(pool):
    compute(Session.open(recipe(pool)), LocalExecutor())
    with pytest.raises(
        RecipeError, match=r"pool\.store: .* samples that were read as tables, and .*pool\.columns"
    ):
        Session.open(recipe(pool, pool={"columns": {"text": "url"}}))
    for path in (pool / "pool").iterdir():
        path.rename(path.with_name(path.name.partition(".")[0] + ".tar"))
    with pytest.raises(RecipeError, match=r"read as tables, and the recipe says tars; name another store"):
        Session.open(recipe(pool))


def test_what_needs_images_is_refused_before_any_work(pool, write_pool):
    first = rf"\(the first: {pool}/pool/a\.parquet\)"
    with pytest.raises(RecipeError, match=rf"compute\.bright reads images, and pool\.shards are .* {first}"):
        Session.open(recipe(pool, compute={"bright": {"use": "planted.Brightness"}}))
    with pytest.raises(
        RecipeError, match=rf"export\.shards copies images, and pool\.shards are tables .* {first}"
    ):
        Session.open(recipe(pool, export={"shards": str(pool / "out")}))
    for path in (pool / "pool").iterdir():
        path.unlink()
    write_pool(["a"])
    with pytest.raises(RecipeError, match=r"pool\.columns is for tables, and pool\.shards are tars"):
        Session.open(recipe(pool, pool={"columns": {"text": "a"}}))


COLUMNS = {
    "mixed": ({"text": 0, "url": "u"}, "must be all names, or all positions from 0, got {'text': 0, 'url': 'u'}"),
    "negative": ({"text": -1}, "must be all names, or all positions from 0, got {'text': -1}"),
    "Boolean": ({"text": True}, "must be all names, or all positions from 0, got {'text': True}"),
    "unknown": ({"txt": "a"}, f"must be of {', '.join(PARTS)}, got 'txt'"),
    "list": (["text"], "must map parts of a sample to columns, such as {text: TITLE}, got ['text']"),
}  # fmt: skip


@pytest.mark.parametrize("name", COLUMNS)
def test_wrong_columns_in_a_recipe(name):
    columns, expected = COLUMNS[name]
    with pytest.raises(RecipeError) as raised:
        parse({"pool": {"shards": "x", "store": "s", "columns": columns}})
    assert str(raised.value) == f"pool.columns {expected}"


def test_a_real_file(data):
    shard = Shard("captions", str(data / "captions.tsv.gz"))
    frames = list(read_table(shard, {"key": 1, "text": 2}, 8192))
    assert [len(f) for f in frames[-2:]] == [8192, 120_049 % 8192]
    whole = pl.concat(frames)
    assert whole["uid"].n_unique() == 120_049
    assert whole["text"].null_count() == 0
    assert whole.row(0, named=True)["text"] == "A black Honda motorcycle parked in front of a garage."


def test_other_columns_make_another_content(pool):
    (first, *_) = Session.open(recipe(pool)).shards
    contents = {
        Tables([], columns).identify(first).content for columns in ({}, {"text": "url"}, {"url": "url"})
    }
    assert len(contents) == 3
