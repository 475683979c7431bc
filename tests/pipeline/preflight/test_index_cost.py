"""What an index will be and cost: by hand, from rates of round numbers."""

import pytest

from pipeline.plan.index_choice import shape_of
from pipeline.plan.session import Session
from pipeline.plan.stored import list_stored
from pipeline.preflight.index_cost import (
    HERE,
    Rates,
    add_seconds,
    measured_rates,
    planned_indexes,
    train_seconds,
)
from pipeline.preflight.preview import preview
from tests.support.decided_pool import decided, ordinary, recipe
from tests.support.growing_pool import EMBEDDING, write, write_shard

ROUND = Rates(flops=1e9, numbers=1e6, graph=1e-6)
ROWS, WIDTH = 1_000_000, 100


def seconds(factory: str) -> tuple[float, float]:
    shape = shape_of(factory, WIDTH)
    return (
        train_seconds(factory, shape, ROWS, WIDTH, ROUND),
        add_seconds(factory, shape, ROWS, WIDTH, ROUND),
    )


def test_an_exact_index_is_read_once():
    assert seconds("Flat") == (0.0, 100.0)  # 1e8 numbers


def test_lists_that_are_compared_one_by_one():
    """40,960 vectors, compared ten times with 1,024 centroids of 100 numbers; 1,000 queries with each row."""
    trained, added = seconds("IVF1024,Flat")
    assert trained == pytest.approx(100 + 10 * 65_536 * 1024 * 200 / 1e9)
    assert added == pytest.approx(100 + (1e6 * 200 * 1000 + 1e6 * 200 * 1024) / 1e9)


def test_many_lists_are_found_in_two_steps_and_searched_by_a_graph():
    trained, added = seconds("IVF16384_HNSW32,Flat")
    graph = (14 / 12) ** 2 * 1e-6 * 100
    assert trained == pytest.approx(100 + 10 * 40 * 16_384 * 2 * 128 * 200 / 1e9 + 2.5 * 16_384 * graph)
    assert added == pytest.approx(100 + 1e6 * 200 * 1000 / 1e9 + 1e6 * graph)


def test_codes_take_longer():
    assert all(a < b for a, b in zip(seconds("IVF1024,SQ8"), seconds("IVF1024,PQ20"), strict=True))


def test_the_plan_of_a_pool(tmp_path):
    """8 of 12 samples are kept, of 8 dimensions."""
    ordinary(tmp_path / "pool")
    export = {"index": {"embedding": "vector.embedding", "path": f"{tmp_path}/o", "memory": 1e-9}}
    before = Session.open(recipe(tmp_path, export))
    [unknown] = planned_indexes(before, list_stored(before))
    assert (unknown.key, unknown.rows, unknown.dimension) == ("export.index", None, 8)
    assert (unknown.factory, unknown.bytes, unknown.train_seconds, unknown.joined) == (None,) * 4
    shown = preview(decided(tmp_path, export))
    [index] = shown.indexes
    assert (index.rows, index.at_most, index.factory, index.bytes) == (8, False, "Flat", 8 * 8 * 4)
    assert (index.parts, index.joined, index.training_rows) == (1, True, 0)
    assert index.add_seconds == pytest.approx(64 / HERE.numbers)


def test_the_plan_of_an_index_that_grows(tmp_path):
    """14 rows, to which shard 5 adds 8, of 8 numbers: only these are read."""
    for shard, count in ((1, 12), (4, 8)):
        write_shard(tmp_path / "pool", shard, count)
    assert write(tmp_path).rows == 14
    export = {"index": {"embedding": EMBEDDING, "path": f"{tmp_path}/out"}}
    [current] = preview(decided(tmp_path, export)).indexes
    assert (current.rows, current.added_rows, current.remark) == (14, None, None)
    write_shard(tmp_path / "pool", 5, 12)
    [undecided] = preview(Session.open(recipe(tmp_path, export))).indexes
    assert undecided.remark == "lies there: whether it grows shows once `winnow keep` has decided"
    [index] = preview(decided(tmp_path, export)).indexes
    assert (index.rows, index.added_rows, index.parts, index.joined) == (22, 8, 1, True)
    assert (index.bytes, index.training_rows, index.train_seconds) == (22 * 8 * 4, 0, 0.0)
    assert index.add_seconds == pytest.approx(64 / HERE.numbers)
    assert index.remark == "adds 1 shard, 8 rows to 14"
    export["index"]["factory"] = "IVF2,Flat"
    [other] = preview(decided(tmp_path, export)).indexes
    assert other.remark == "is built anew: factory was 'auto' and is 'IVF2,Flat'"
    assert (other.rows, other.added_rows, other.training_rows) == (22, None, 22)


@pytest.mark.parametrize("data", [b"", b"[]", b'{"complete": true}', b'{"complete": true, "growth": 1}'])
def test_what_is_no_manifest_is_no_index_that_grows(tmp_path, data):
    ordinary(tmp_path / "pool")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "image.json").write_bytes(data)
    export = {"index": {"embedding": EMBEDDING, "path": f"{tmp_path}/out"}}
    [index] = preview(decided(tmp_path, export)).indexes
    assert (index.rows, index.added_rows) == (8, None)


def test_an_index_that_is_left_in_parts_is_a_warning(tmp_path, monkeypatch):
    ordinary(tmp_path / "pool")
    monkeypatch.setattr("pipeline.plan.index_choice.PART_BYTES", 1)
    index = {"embedding": "vector.embedding", "path": f"{tmp_path}/o", "memory": 1e-9}
    shown = preview(decided(tmp_path, {"indexes": {"a": index}}))
    assert [(i.key, i.parts, i.joined) for i in shown.indexes] == [("export.indexes.a", 2, False)]
    [warning] = [w for w in shown.warnings if "memory" in w]
    assert warning.startswith("export.indexes.a.memory: Flat has 0.0 GiB, more than the 1e-09 that a search")


def test_an_index_that_cannot_be_built_is_a_warning(tmp_path):
    ordinary(tmp_path / "pool")
    index = {"embedding": "vector.embedding", "path": f"{tmp_path}/o", "factory": "IVF100,Flat"}
    shown = preview(decided(tmp_path, {"index": index}))
    assert [w for w in shown.warnings if "factory" in w] == [
        "export.index.factory: IVF100,Flat cannot be built for 8 dimensions: IVF100 needs a vector for each list, "
        "and there are 8; name another, or auto"
    ]


def test_rates_are_measured_here():
    rates = measured_rates()
    assert rates.measured
    assert min(rates.flops, rates.numbers, rates.graph) > 0
