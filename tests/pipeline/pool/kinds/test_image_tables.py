"""Parquet files of images: every form of the column, exports, bounds, and files that change meanwhile."""

import json
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs import steps
from pipeline.errors import ChangedError, ColumnError, RecipeError, ShardError
from pipeline.plan.session import Session
from pipeline.pool.fields import image_suffix
from pipeline.pool.kinds.image_tables import ImageTables
from pipeline.recipe.load import parse
from pipeline.run.compute import compute
from pipeline.run.executor import LocalExecutor
from tests.support.paths import PLUGINS
from tests.support.samples import picture

PICTURES = [picture(n, 24 + n, 16, format) for n, format in enumerate(("JPEG", "PNG", "WEBP"))]
RECORDS = [{"bytes": data, "path": f"{n}.x"} for n, data in enumerate(PICTURES)]
CAPTIONS = ["a dog", "a cat", "an ant"]
COMPUTE = {"light": {"use": "planted.Brightness"}, "caption": {"use": "caption.Caption"}}


def write(folder, name="0.parquet", row_group_size=2, **columns):
    folder.mkdir(exist_ok=True)
    columns = {"image": RECORDS, "caption": CAPTIONS, **columns}
    table = pa.table({key: value for key, value in columns.items() if value is not None})
    pq.write_table(table, folder / name, row_group_size=row_group_size)
    return folder / name


def recipe(folder, name="store", columns=None, **sections):
    pool = {
        "shards": f"{folder}/pool",
        "kind": "image_tables",
        "store": f"{folder}/{name}",
        "columns": columns or {},
    }
    return parse({"pool": pool, "plugins": [str(PLUGINS)], "compute": COMPUTE, **sections})


def rows(folder, columns=None):
    kind = ImageTables((str(folder),), columns or {})
    (shard,) = kind.list_shards().shards
    kind.check_shard(shard)
    return [
        (row, None if image is None else bytes(image))
        for frame, images in kind.read(shard, 100, {})
        for row, image in zip(frame.to_dicts(), images, strict=True)
    ]


@pytest.mark.parametrize(
    "image",
    [
        RECORDS,
        pa.array(PICTURES, pa.binary()),
        pa.array(PICTURES, pa.large_binary()),
        pa.array(PICTURES, pa.binary_view()),
        pa.array(PICTURES, pa.binary()).dictionary_encode(),
        pa.array([{"path": None, "bytes": data} for data in PICTURES]),
        pa.array([{"bytes": data} for data in PICTURES], pa.struct({"bytes": pa.large_binary()})),
    ],
)
def test_every_form_of_the_column(image, tmp_path):
    write(tmp_path / "pool", image=image)
    found = rows(tmp_path / "pool")
    assert [data for _, data in found] == PICTURES
    assert [row["text"] for row, _ in found] == CAPTIONS
    assert [(row["width"], row["height"], row["image_format"]) for row, _ in found] == [
        (24, 16, "jpg"),
        (25, 16, "png"),
        (26, 16, "webp"),
    ]
    assert [row["length"] for row, _ in found] == [len(data) for data in PICTURES]
    assert [row["error"] for row, _ in found] == [None] * 3


def test_rows_without_a_picture_say_why(tmp_path):
    images = [{"bytes": None, "path": "a/b.jpg"}, None, {"bytes": b"", "path": None}]
    write(tmp_path / "pool", image=pa.array(images, pa.struct({"bytes": pa.binary(), "path": pa.string()})))
    found = rows(tmp_path / "pool")
    assert [row["error"] for row, _ in found] == [
        "no image in its row, only the path 'a/b.jpg'",
        "no image in its row",
        None,
    ]
    assert [data for _, data in found] == [None, None, b""]
    write(
        tmp_path / "pool",
        image=pa.array(images[:1] * 3, pa.struct({"bytes": pa.binary(), "path": pa.string()})),
        caption=["a", None, "c"],
    )
    assert (
        rows(tmp_path / "pool")[1][0]["error"] == "no image in its row, only the path 'a/b.jpg'; no caption"
    )


def test_several_columns_of_pictures(tmp_path):
    write(tmp_path / "pool", image=None, before=RECORDS, after=RECORDS[::-1])
    with pytest.raises(
        ColumnError, match=r"pool\.columns\.image must name one of caption|must name one of before, after"
    ):
        rows(tmp_path / "pool")
    assert [data for _, data in rows(tmp_path / "pool", {"image": "after"})] == PICTURES[::-1]
    write(tmp_path / "pool", mask=RECORDS[::-1])  # a usual name tells
    assert [data for _, data in rows(tmp_path / "pool")] == PICTURES


@pytest.mark.parametrize(
    ("columns", "given", "why"),
    [
        ({"image": ["a", "b", "c"]}, None, r"no column has images .* there are: image \(string\), caption"),
        ({"image": None}, None, "no column has images"),
        ({}, {"image": "pixels"}, r"column pixels \(pool\.columns\.image\) must have records with bytes"),
        ({"caption": None}, None, r"no column text or caption"),
        ({}, {"text": "prompt"}, r"no column prompt \(pool\.columns\.text\)"),
    ],
)
def test_missing_columns(columns, given, why, tmp_path):
    write(tmp_path / "pool", **columns)
    with pytest.raises(ColumnError, match=why):
        rows(tmp_path / "pool", given)


def test_only_parquet(tmp_path):
    (tmp_path / "pool").mkdir()
    (tmp_path / "pool/0.csv").write_text("text,image\na,b\n")
    with pytest.raises(RecipeError, match=r"pool\.kind is image_tables, and .*0\.csv is not parquet"):
        Session.open(recipe(tmp_path))
    write(tmp_path / "tables")
    pool = {"shards": f"{tmp_path}/tables", "store": f"{tmp_path}/store"}
    with pytest.raises(RecipeError, match=r"add pool\.kind: image_tables"):
        Session.open(parse({"pool": pool, "plugins": [str(PLUGINS)], "compute": COMPUTE}))
    with pytest.raises(RecipeError, match=r"pool\.columns\.image is for tables that hold images"):
        Session.open(parse({"pool": {**pool, "columns": {"image": "image"}}}))


@pytest.mark.usefixtures("local_ray")
@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_exports_and_ray_equals_local(tmp_path):
    from pipeline.run.on_ray import RayExecutor

    more = {"label": pa.array([1, 2, 3]), "tags": [["a"], [], None], "mask": pa.array([b"\0"] * 3)}
    for name in ("b.parquet", "a.parquet"):
        write(tmp_path / "pool", name, **more)
    out = {
        "export": {"shards": f"{tmp_path}/out", "samples_per_shard": 4},
        "keep": {"light.mean": {"min": 0}},
    }
    result = steps.run_all(
        Session.open(recipe(tmp_path, columns={"image": "image"}, **out)), local=True, quiet=True
    )
    assert (result.books.samples, result.books.kept, result.books.failed) == (6, 6, 0)
    with tarfile.open(tmp_path / "out/00000000.tar") as tar:
        files = {member.name.partition(".")[2]: tar.extractfile(member).read() for member in list(tar)[3:6]}
    assert files["png"] == PICTURES[1]
    assert files["txt"] == b"a cat"
    assert json.loads(files["json"]) == {"caption": "a cat", "label": 2, "tags": []}
    local = Session.open(recipe(tmp_path, columns={"image": "image"}))
    made = recipe(tmp_path, "ray", columns={"image": "image"})
    on_ray = compute(Session.open(made), RayExecutor(made)).session
    names = ["uid", "key", "width", "length", "image_format", "light.mean", "caption.words"]
    shards = [shard.name for shard in local.shards]
    assert on_ray.columns.read_many(shards, names).equals(local.columns.read_many(shards, names))


def test_a_file_that_was_rewritten_is_done_anew(tmp_path):
    path = write(tmp_path / "pool")
    first = compute(Session.open(recipe(tmp_path)), LocalExecutor()).session
    write(tmp_path / "pool", caption=CAPTIONS[::-1])
    second = compute(Session.open(recipe(tmp_path)), LocalExecutor()).session
    assert second.shards[0].content != first.shards[0].content
    assert second.columns.read("0", ["text"])["text"].to_list() == CAPTIONS[::-1]
    kind, (shard,) = second.kind, second.shards
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ChangedError, match="has changed since it was listed"), kind.members(shard):
        pass


def test_damage_is_one_line(tmp_path):
    path = write(tmp_path / "pool")
    whole = path.read_bytes()
    for data in (whole[:-9], b"PAR1", b"", whole[:4] + bytes(60) + whole[64:]):
        path.write_bytes(data)
        with pytest.raises(ShardError, match=r"0\.parquet: "):
            rows(tmp_path / "pool")


def test_memory_does_not_grow_with_the_row_group(tmp_path):
    big = [np.random.default_rng(n).bytes(1 << 20) for n in range(150)]
    (tmp_path / "pool").mkdir()
    table = pa.table({"image": pa.array(big), "caption": ["a"] * 150})
    pq.write_table(table, tmp_path / "pool/0.parquet", use_dictionary=False, write_batch_size=8)
    del table, big
    kind = ImageTables((f"{tmp_path}/pool",), {})
    (shard,) = kind.list_shards().shards
    before = pa.total_allocated_bytes()
    most = 0
    for _, images in kind.read(shard, 256, {}):
        most = max(most, pa.total_allocated_bytes() - before)
        assert sum(len(image) for image in images if image is not None) <= 64 << 20
    assert most < 100 << 20


@pytest.mark.parametrize(
    ("start", "path", "suffix"),
    [
        (b"\xff\xd8\xff", "a.png", "jpg"),
        (b"GIF89a", "", "gif"),
        (b"\0\0\0\x1cftypavif", "", "avif"),
        (b"unknown", "a.PNG", "png"),
        (b"unknown", "a.exe", "img"),
    ],
)
def test_suffixes(start, path, suffix):
    assert image_suffix(start, path) == suffix
