"""What a Group's operator and its recipe must not do, with the line that says so; and what a plan shows."""

import pytest

from pipeline.errors import OperatorError, RecipeError
from pipeline.plan.session import Session
from pipeline.preflight.preview import preview
from pipeline.recipe.load import parse
from pipeline.run.compute import compute
from pipeline.run.executor import LocalExecutor
from tests.pipeline.run.groups.test_meet import GROUPS, MEETING, opened, write_pool
from tests.support.paths import PLUGINS


@pytest.mark.parametrize(
    ("use", "message"),
    [
        ("Raises", "it: group() fails: ValueError: no such thing (raises.py, line 10)"),
        ("Short", "it: group() got 3 rows and returned 2"),
        (
            "Wrong",
            "it.size must be UInt32, got Int64: cast it, or make the frame with schema=dict(self.writes)",
        ),
        ("Nothing", "it: group() must return a polars DataFrame, got NoneType"),
    ],
)
def test_an_operator_that_breaks_its_contract_ends_the_pass(tmp_path, use, message):
    write_pool(tmp_path / "pool", ["a", "a", "b"], 1)
    plugin = tmp_path / "raises.py"
    plugin.write_text(
        "import polars as pl\nfrom pipeline.operator import Group\n"
        "class Base(Group):\n"
        "    writes = {'size': pl.UInt32}\n"
        "    needs = ('text',)\n"
        "    def keys(self): return ('text',)\n"
        "\n"
        "class Raises(Base):\n"
        "    def group(self, rows):\n"
        "        raise ValueError('no such thing')\n"
        "class Short(Base):\n"
        "    def group(self, rows): return pl.DataFrame({'size': [1, 2]}, schema=self.writes)\n"
        "class Wrong(Base):\n"
        "    def group(self, rows): return pl.DataFrame({'size': [1, 2, 3]})\n"
        "class Nothing(Base):\n"
        "    def group(self, rows): return None\n"
    )
    recipe = {
        "pool": {"shards": f"{tmp_path}/pool", "store": f"{tmp_path}/store"},
        "plugins": [str(plugin)],
        "compute": {"it": {"use": f"raises.{use}"}},
    }
    with pytest.raises(OperatorError) as raised:
        compute(Session.open(parse(recipe)), LocalExecutor())
    assert str(raised.value).replace(str(tmp_path) + "/", "") == message


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (
            {"compute": {"place": {"use": "meeting.Place", "key": "size.value"}}},
            "compute.place: size.value is Float64; rows meet by integers, text or bytes, or lists of them",
        ),
        (
            {"compute": {"place": {"use": "meeting.Place", "key": ""}}},
            "compute.place: rows meet by the column ''; name one of this recipe",
        ),
        (
            {
                "compute": {
                    "words": GROUPS["words"],
                    "both": {"use": "meeting.Size", "key": "words.words", "also": "url"},
                }
            },
            "compute.both: words.words is List(String); a list must be the only key",
        ),
        (
            {
                "compute": {
                    "words": GROUPS["words"],
                    "copies": {"use": "duplicates.Exact", "key": "words.words"},
                }
            },
            "compute.copies: words.words is List(String); Exact takes a single key per row, not a list",
        ),
        (
            {"compute": {"copies": {"use": "duplicates.Exact", "key": "text", "best": "url"}}},
            "compute.copies.best: url is String, must be numbers",
        ),
        (
            {"compute": {"sizes": {"use": "clusters.Centroids", "embedding": "size.value"}}},
            "compute.sizes.embedding: size.value is Float64, must be an Array (an embedding)",
        ),
        (
            {"compute": {"sizes": {"use": "clusters.Sizes", "cluster": "size.value"}}},
            "compute.sizes.cluster: size.value is Float64, must be whole numbers",
        ),
        (
            {"compute": {"bands": {"use": "perceptual.Bands", "hash": "text"}}},
            "compute.bands.hash: text is String, must be Binary, such as hashes",
        ),
        (
            {
                "compute": {
                    "it": {"use": "perceptual.Leaders", "neighbours": "text", "distances": "size.value"}
                }
            },
            "compute.it.neighbours: text is String, must be lists of text (uids)",
        ),
        (
            {"compute": {"it": {"use": "lists.Listed", "column": "width", "file": "list.txt"}}},
            "compute.it.column: width is Int32, must be text or bytes",
        ),
        *(
            (
                {"compute": {"copies": {"use": "duplicates.Exact", "key": key}}},
                f"compute.copies.key must be the name of a column, or a list of names, got {key!r}",
            )
            for key in ("", [], 3, ["text", ""], ["text", 3])
        ),
        (
            {"compute": {"place": {"use": "meeting.Place", "key": "text"}}, "run": {"place": {"gpus": 1}}},
            "run.place.gpus: meeting.Place is a Group, whose tasks take cpus and memory only",
        ),
    ],
)
def test_what_a_recipe_must_not_say(recipe, message):
    compute_ = {"size": {"use": "planted.Length"}, **recipe["compute"]}
    data = {
        "pool": {"shards": "pool", "store": "store"},
        "plugins": [MEETING, str(PLUGINS)],
        "run": {},
        **recipe,
        "compute": compute_,
    }
    with pytest.raises(RecipeError) as raised:
        parse(data)
    assert str(raised.value) == message


def test_a_plan_shows_what_meets(tmp_path):
    write_pool(tmp_path / "pool", ["a", "a", None], 1)
    session = opened(tmp_path, {"both": GROUPS["both"]}, 2.0)
    (samples, group) = preview(session).passes
    assert (samples.kind, group.kind, group.shuffled, group.memory) == ("score", "group", None, 2.0)
    compute(session, LocalExecutor(), ["both"])
    other = opened(tmp_path, {"both": {**GROUPS["both"], "key": "url"}})
    (group,) = preview(other).passes
    assert (group.operators, group.samples, group.shuffled) == (("both",), 3, 3 * 64)
    assert group.reads == "columns, grouped by key, 0 MB; 1 GiB per task"


def test_a_plan_warns_of_too_many_cells(tmp_path):
    write_pool(tmp_path / "pool", [f"{number}" for number in range(400)], 1)
    by_url = {"both": {**GROUPS["both"], "key": "url"}}
    assert preview(opened(tmp_path, by_url, 3e-7)).warnings == []  # the samples are not counted yet
    compute(opened(tmp_path, {"both": GROUPS["both"]}), LocalExecutor())
    small, warning = preview(opened(tmp_path, by_url, 3e-7)).warnings  # 40 bytes a task
    assert small == (
        "run.both.memory: 3e-07 GiB are for the rows of a task; Python and its libraries take about 0.5 GiB "
        "beside them"
    )
    assert warning == (
        "run.both.memory: with 3e-07 GiB a task the rows of both are cut into 404,496 cells, each of which is "
        "a request or more; give it more, such as run.both.memory=1"
    )
