"""What every kind of pool must do, shown on one small pool of each."""

import inspect
import json
import pickle
from pathlib import Path

import polars as pl
import pytest

from pipeline.plan.session import Session
from pipeline.pool.kinds.kind import MEMBER_COLUMNS, PoolKind
from pipeline.pool.kinds.registry import KINDS, NAMED, usual_kind
from pipeline.pool.sample_table import StoredSamples, samples_of
from pipeline.pool.shards import Shard
from pipeline.recipe.load import parse
from pipeline.run.compute import compute
from pipeline.run.executor import LocalExecutor
from pipeline.schema import READY_COLUMNS, SAMPLE_COLUMNS, SAMPLE_SCHEMA
from pipeline.storage.store import Store, to_arrow
from tests.support.decided_pool import sample, uid, write_tar

COUNT = 5


def tars(folder: Path) -> str:
    write_tar(folder / "0.tar", [file for number in range(COUNT) for file in sample(number)])
    return str(folder)


def files(folder: Path) -> str:
    folder.mkdir()
    for number in range(COUNT):
        for name, data in sample(number):
            (folder / name).write_bytes(data)
    return str(folder)


def tables(folder: Path) -> str:
    folder.mkdir()
    captions = ["a caption long enough"] * COUNT
    uids = [uid(number) for number in range(COUNT)]
    scores = {f"clip_{model}_similarity_score": [0.5] * COUNT for model in ("b32", "l14")}
    pl.DataFrame({"uid": uids, "text": captions, **scores}).write_parquet(folder / "0.parquet")
    return str(folder)


def image_tables(folder: Path) -> str:
    folder.mkdir()
    wholes = [sample(number) for number in range(COUNT)]
    images = [{"bytes": image, "path": name} for (name, image), *_ in wholes]
    records = pl.DataFrame([json.loads(record) for *_, (_, record) in wholes])
    records.insert_column(0, pl.Series("image", images)).write_parquet(folder / "0.parquet")
    return str(folder)


POOLS = {"tars": tars, "files": files, "tables": tables, "datacomp": tables, "image_tables": image_tables}


@pytest.fixture(params=KINDS)
def kind(request, tmp_path) -> PoolKind:
    return KINDS[request.param]((POOLS[request.param](tmp_path / "pool"),), {})


def test_there_is_a_pool_of_every_kind():
    assert POOLS.keys() == KINDS.keys()
    assert set(NAMED) == KINDS.keys() - {"datacomp"}
    assert {name: dict(kind.ready) for name, kind in KINDS.items() if kind.ready} == READY_COLUMNS


def test_a_kind_says_what_it_is(kind):
    assert kind.key in ("pool.shards", "pool.datacomp")
    assert kind.noun


def test_its_shards_are_read_from_the_first_row_to_the_last(kind):
    shards = kind.list_shards().shards
    kind.check(shards, [])
    for shard in shards:
        kind.check_shard(shard)
        kind.touch(shard)
        notes: dict = {}
        batches = list(kind.read(shard, 2, notes))
        assert [len(frame) for frame, _ in batches] == [2, 2, 1]
        whole = pl.concat(frame for frame, _ in batches)
        assert (
            to_arrow(whole).schema.types == to_arrow(pl.DataFrame(SAMPLE_SCHEMA.empty_table())).schema.types
        )
        assert whole.columns == SAMPLE_SCHEMA.names
        assert whole["shard"].to_list() == [shard.name] * COUNT
        assert whole["row"].to_list() == list(range(COUNT))
        assert whole["uid"].to_list() == [uid(number) for number in range(COUNT)]
        assert whole["text"].to_list() == ["a caption long enough"] * COUNT
        assert [images is not None for _, images in batches] == [kind.has_images] * 3


def test_its_members_are_the_files_of_a_sample(kind):
    (shard,) = kind.list_shards().shards
    rows = pl.concat(frame for frame, _ in kind.read(shard, 100, {})).select(MEMBER_COLUMNS)
    with kind.members(shard) as members_of:
        found = [{s: read(s, data) for s, data in members_of(row)} for row in rows.iter_rows(named=True)]
    expected = [
        {(s := name.partition(".")[2]): read(s, data) for name, data in sample(n)} for n in range(COUNT)
    ]
    assert found == (expected if kind.has_images else [{}] * COUNT)


def read(suffix: str, data: bytes) -> object:
    """A file's contents; of a json, what they mean."""
    return json.loads(bytes(data)) if suffix == "json" else bytes(data)


def test_its_samples_are_a_table(kind, tmp_path):
    store = Store(str(tmp_path / "store"))
    (shard,) = kind.list_shards().shards
    if kind.samples(store).folders:
        with samples_of(store, shard) as writer:
            for frame, _ in kind.read(shard, 2, notes := {}):
                writer.add_rows(frame)
            writer.finish(notes)
    samples = pickle.loads(pickle.dumps(kind)).samples(store)
    (known,) = samples.known([shard])
    assert (known.rows, known.content, known.differs) == (COUNT, kind.identify(shard).content, "")
    names = ["uid", "row", "text", *kind.ready][:5]
    whole = samples.read([shard.name], names)
    assert whole.columns == names
    assert pl.concat(samples.batches(shard.name, names, 2)).equals(whole)
    assert [len(frame) for frame in samples.batches(shard.name, names, 2)] == [2, 2, 1]
    assert samples.row(shard.name, 3, names).equals(whole[3])
    assert samples.rows_at(shard.name, [4, 0], names).equals(whole[[4, 0]])
    assert samples.find(shard.name, [uid(3), uid(99)]) == [3]
    assert samples.starting(shard.name, [uid(3)[:9], "0" * 9]).rows() == [(3, uid(3))]
    keys = samples.read([shard.name], ["key"])["key"]
    assert samples.keyed(shard.name, [keys[2], "no such key"]).rows() == [(2, keys[2])]
    assert samples.size(shard.name) > 0
    assert isinstance(samples, StoredSamples) == bool(samples.folders)


def test_every_kind_goes_through_a_recipe(tmp_path):
    for name, make in POOLS.items():
        path = make(tmp_path / name)
        where = {"datacomp": path} if name == "datacomp" else {"shards": path, "kind": name}
        pool = {**where, "store": f"{tmp_path}/store_{name}"}
        session = Session.open(parse({"pool": pool, "compute": {"caption": {"use": "caption.Caption"}}}))
        log = compute(session, LocalExecutor())
        assert log.pending == {}
        session = log.session
        frame = session.columns.read_many([shard.name for shard in session.shards], ["uid", "caption.words"])
        assert frame.rows() == [(uid(number), 4) for number in range(COUNT)]


def test_tars_and_tables_are_told_apart_by_their_names():
    assert [usual_kind([Shard("0", path)]) for path in ("0.tar", "0.wds", "0.csv.gz")] == [
        "tars",
        "tars",
        "tables",
    ]
    assert usual_kind([]) == "tars"


def test_what_a_kind_must_define_itself():
    """Everything else has a default, so a new kind is as small as it can be."""
    for kind in KINDS.values():
        own = {name for name, value in vars(kind).items() if inspect.isfunction(value)}
        assert {"list_shards", "read"} <= own
    assert set(SAMPLE_COLUMNS) < set(SAMPLE_SCHEMA.names)
