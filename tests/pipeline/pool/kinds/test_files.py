"""A folder of files as a pool: listing, cuts, the same rows as a tar of these files, and every command on it."""

import json
import os
from pathlib import Path

import fsspec
import numpy as np
import polars as pl
import pytest

from jobs import steps
from pipeline.decide.books import Losses, losses
from pipeline.decide.decide import decide
from pipeline.decide.explain import explain
from pipeline.errors import RecipeError, ShardError
from pipeline.export.subset import read_subset, subset_uids
from pipeline.export.tars import export_shards
from pipeline.plan.session import Session
from pipeline.plan.stored import list_stored
from pipeline.pool.kinds import files as module
from pipeline.pool.kinds.files import Files
from pipeline.pool.kinds.tars import Tars
from pipeline.pool.shards import Shard
from pipeline.preflight.checks import check_storage
from pipeline.preflight.preview import preview
from pipeline.recipe.load import parse
from pipeline.run.compute import compute
from pipeline.run.executor import LocalExecutor
from tests.support.decided_pool import jpeg, read_tar, sample, uid, write_tar
from tests.support.folders import contents, tree
from tests.support.paths import PLUGINS

JPEG = jpeg(1)
CHANGED = "does not have the {} samples that are in the store: it changed; use a new store"


def put(folder: Path, *files) -> None:
    """Files by name; (name, contents), or a name whose contents follow from its suffix."""
    for file in files:
        name, data = file if isinstance(file, tuple) else (file, default(file))
        path = os.fsencode(folder) + b"/" + (name if isinstance(name, bytes) else name.encode())
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as out:
            out.write(data)


def default(name: str) -> bytes:
    return {"txt": f"text of {name}".encode(), "json": b"{}"}.get(name.rpartition(".")[2].lower(), JPEG)


def kind(*paths) -> Files:
    return Files([str(path) for path in paths], {})


def named(*paths) -> list[str]:
    return [shard.name for shard in kind(*paths).list_shards()]


def rows_of(kind, shards, rows: int = 100) -> list[dict]:
    """Every row, with its image as bytes."""
    found = []
    for shard in shards:
        for frame, images in kind.read(shard, rows, {}):
            data = [None if image is None else bytes(image) for image in images]
            found += frame.with_columns(image=pl.Series(data, dtype=pl.Binary)).to_dicts()
    return found


def read(folder: Path, **options) -> list[dict]:
    files = kind(folder)
    return rows_of(files, files.list_shards(), **options)


# --- listing --------------------------------------------------------------------------------------


def test_img2dataset_files_format(tmp_path):
    put(tmp_path, "00000.parquet", "00000_stats.json", "00001.parquet", "00001_stats.json")
    for folder in ("00000", "00001"):
        put(tmp_path / folder, *(f"{folder}000{i}.{s}" for i in range(3) for s in ("jpg", "txt", "json")))
    shards = kind(tmp_path).list_shards()
    size = sum(path.stat().st_size for path in (tmp_path / "00000").iterdir())
    assert shards == [
        Shard(f"{n}/00000", f"{tmp_path}/{n}", size, f"{n}0000.jpg/{n}0002.txt") for n in ("00000", "00001")
    ]
    assert [row["key"] for row in read(tmp_path)] == [
        f"{n}000{i}" for n in ("00000", "00001") for i in range(3)
    ]


def test_folders_to_any_depth_hidden_ones_and_links_aside(tmp_path):
    put(tmp_path / "pool", "1.jpg", ".hidden.jpg", "README.txt", "a/b/c/2.PNG", ".git/3.jpg", "texts/4.txt")
    put(tmp_path / "outside", "5.jpg")
    (tmp_path / "pool" / "link").symlink_to(tmp_path / "outside")
    (tmp_path / "pool" / "6.jpg").symlink_to(tmp_path / "outside" / "5.jpg")
    assert named(tmp_path / "pool") == ["00000", "a/b/c/00000"]
    rows = read(tmp_path / "pool")
    assert [row["key"] for row in rows] == ["1", "README", "2"]
    assert [row["error"] for row in rows][1] == "no image member; no json"


def test_names_stay_when_a_folder_is_added(tmp_path):
    put(tmp_path, "cats/1.jpg")
    assert named(tmp_path) == ["cats/00000"]
    put(tmp_path, "dogs/1.jpg", "0.jpg")
    assert named(tmp_path) == ["00000", "cats/00000", "dogs/00000"]
    assert named(tmp_path / "cats") == ["00000"]


def test_several_folders_braces_and_globs(tmp_path, monkeypatch):
    put(tmp_path, "x/a/1.jpg", "x/b/1.jpg", "y/1.jpg", "y/list.txt")
    assert named(tmp_path / "x" / "a", tmp_path / "y") == ["x/a/00000", "y/00000"]
    assert named(tmp_path / "x", tmp_path / "x" / "a") == ["a/00000", "b/00000"]
    assert named(f"{tmp_path}/x/{{a,b}}/") == named(f"{tmp_path}/x/*") == ["a/00000", "b/00000"]
    monkeypatch.chdir(tmp_path)
    assert [shard.path for shard in kind("y").list_shards()] == [f"{tmp_path}/y"]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (
            "nowhere",
            r"pool\.shards: '.*/nowhere' \(from '.*/nowhere'\) is not a folder, as kind: files needs",
        ),
        ("y/1.txt", r"pool\.shards: '.*/y/1\.txt' \(from .*\) is not a folder"),
        ("*/none*", r"pool\.shards: '.*/\*/none\*' \(from .*\) is not a folder"),
        (
            "y",
            r"pool\.shards: no picture \(\*\.jpg, \*\.png, \*\.jpeg, \*\.webp\) in '.*/y' or a folder below it",
        ),
    ],
)
def test_what_holds_no_pictures_is_named(tmp_path, path, message):
    put(tmp_path, "y/1.txt", "y/z/1.json")
    with pytest.raises(RecipeError, match=message):
        Session.open(parse({"pool": {"shards": f"{tmp_path}/{path}", "kind": "files", "store": "s"}}))


def test_an_empty_list():
    with pytest.raises(ValueError, match=r"pool\.shards is empty: name at least one folder"):
        Files([], {}).list_shards()


def test_a_folder_whose_name_is_not_utf8(tmp_path):
    put(tmp_path, (b"caf\xe9/1.jpg", JPEG))
    with pytest.raises(ValueError, match=r"caf\\udce9' gives no safe name for output files"):
        kind(tmp_path).list_shards()


NAMES = {
    "plain": [f"{i}.{suffix}" for i in range(8) for suffix in ("jpg", "txt", "json")],
    "dots": [f"photo.{i}.{suffix}" for i in range(8) for suffix in ("jpg", "txt")],
    "one stem with dots is cut in the middle": [
        "a.jpg",
        *(f"v1.{i:03}.jpg" for i in range(300)),
        "v1.jpg",
        "w.jpg",
    ],
    "compound suffixes": [f"{i}.{suffix}" for i in range(8) for suffix in ("seg.png", "jpg", "txt")],
    "a plain suffix at the end settles the key": [
        *(f"v.{i}.png" for i in range(5)),
        "v.zip",
        "v.txt",
        "w.jpg",
    ],
}


def test_files_that_make_no_sample_move_no_cut(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SAMPLES", 2)
    put(tmp_path, *(f"{i}.jpg" for i in range(5)), *(f"{i}.zip" for i in range(5)))
    before = rows_of(kind(), kind(tmp_path).list_shards())
    put(tmp_path, "0", "00.md", "1", "1.npy", "11.npy", "2a.csv", "4.xyz", "5.zip", "README")
    after = rows_of(kind(), kind(tmp_path).list_shards())
    assert [(r["shard"], r["key"]) for r in after] == [(r["shard"], r["key"]) for r in before]
    assert [r["shard"] for r in after] == ["00000", "00000", "00001", "00001", "00002"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [1, 3, 5, 10_000])
def test_a_large_folder_is_cut_into_shards(tmp_path, monkeypatch, name, size):
    """Whatever the size, the shards hold the samples of one tar of these files, each once and in order."""
    put(tmp_path / "pool", *NAMES[name])
    write_tar(tmp_path / "0.tar", [(n, default(n)) for n in sorted(NAMES[name])])
    monkeypatch.setattr(module, "SAMPLES", size)
    shards = kind(tmp_path / "pool").list_shards()
    assert [shard.name for shard in shards] == [f"{number:05d}" for number in range(len(shards))]
    counts = [len(rows_of(kind(), [shard])) for shard in shards]
    assert sum(counts) == len(rows_of(Tars((), {}), [Shard("0", f"{tmp_path}/0.tar")]))
    assert all(count == size for count in counts[:-1])
    keys = [row["key"] for row in read(tmp_path / "pool")]
    assert keys == [row["key"] for row in rows_of(Tars((), {}), [Shard("0", f"{tmp_path}/0.tar")])]


def test_other_storage(tmp_path):
    fs = fsspec.filesystem("memory")
    put(
        tmp_path,
        "a/1.jpg",
        ("a/1.txt", b""),
        "a/2.jpg",
        "b/c/1.jpg",
        "b/.hidden/1.jpg",
        "b/c/.1.jpg",
        "c/x.txt",
    )
    fs.put(f"{tmp_path}/", "/test_files/", recursive=True)
    try:
        remote = kind("memory://test_files")
        shards = remote.list_shards()
        assert [(s.name, s.path) for s in shards] == [
            (name, f"memory:///test_files/{name.removesuffix('/00000')}") for name in ("a/00000", "b/c/00000")
        ]
        assert rows_of(remote, shards) == read(tmp_path)
        assert named("memory://test_files/{a,b}") == ["a/00000", "b/c/00000"]
        with remote.members(shards[0]) as members_of:
            row = {"row": 0, "key": "1", "length": len(JPEG)}
            assert [(s, bytes(d)) for s, d in members_of(row)] == [("jpg", JPEG), ("txt", b"")]
        remote.touch(shards[0])
    finally:
        fs.rm("/test_files", recursive=True)


# --- rows: what a tar of the same files gives ------------------------------------------------------

UID = "0123456789abcdef" * 2
SETS = {
    "whole": ["1.jpg", "1.txt", ("1.json", b'{"original_width": 640, "original_height": 480}')],
    "suffixes": ["1.png", "2.jpeg", "3.webp", "4.JPG", "4.Txt", "5.gif", "6.jpg", "6.png"],
    "a caption in the json alone": ["1.jpg", ("1.json", b'{"caption": "a dog"}')],
    "a picture without caption": ["1.jpg", "1.json"],
    "a caption without picture": ["0.jpg", "1.txt", "1.json"],
    "a json without the rest": ["0.jpg", "1.json"],
    "nothing but a picture": ["1.jpg"],
    "a json that cannot be parsed": ["1.jpg", ("1.json", b"{"), "2.jpg", ("2.json", b"[1]")],
    "an empty picture": [("1.jpg", b""), "1.txt"],
    "a picture of garbage": [("1.jpg", b"garbage"), "1.txt"],
    "bytes that are not UTF-8": ["1.jpg", ("1.txt", b"caf\xe9")],
    "an own uid": ["1.jpg", ("1.json", json.dumps({"uid": UID.upper()}).encode())],
    "a uid of text and url": ["1.jpg", "1.txt", ("1.json", b'{"url": "http://x/1"}')],
    "the same name in two cases": ["1.JPG", "1.jpg", "1.txt"],
    "dots in names": ["v1.5_cat.jpg", "v1.5_cat.txt", "v1.6_dog.jpg"],
    "compound suffixes": ["d.jpg", "d.seg.png", "d.txt", ("d.embedding.npy", b"123")],
    "names without a dot, or that begin with one": ["1.jpg", "LICENSE", ".DS_Store", "__meta__"],
    "blanks and signs": ["a b#c%20?.jpg", "a b#c%20?.txt", "-o.jpg"],
}


@pytest.mark.parametrize("name", SETS)
def test_rows_equal_those_of_a_tar(tmp_path, name):
    put(tmp_path / "pool", *SETS[name])
    both = [file if isinstance(file, tuple) else (file, default(file)) for file in SETS[name]]
    write_tar(tmp_path / "00000.tar", sorted(both))
    tar = rows_of(Tars((), {}), [Shard("00000", f"{tmp_path}/00000.tar")])
    found = read(tmp_path / "pool")
    assert len(found) == len(tar) > 0
    ranges = ("offset", "length", "image_offset")
    for row, expected in zip(found, tar, strict=True):
        assert {n: v for n, v in row.items() if n not in ranges} == {
            n: v for n, v in expected.items() if n not in ranges
        }
        assert (row["offset"], row["image_offset"]) == (None, None)
    sizes = dict(both)
    assert sum(row["length"] for row in found) == sum(
        len(data) for file, data in sizes.items() if file[0] != "." and "." in file
    )


def test_names_that_are_not_utf8(tmp_path):
    """Two files whose names read the same stay two samples, with two uids, and are exported as two."""
    put(tmp_path, (b"\xfe.jpg", jpeg(1)), (b"\xff.jpg", jpeg(2)), (b"\xff.txt", b"a"), "a.jpg")
    files = kind(tmp_path)
    (shard,) = files.list_shards()
    rows = rows_of(files, [shard])
    assert [row["key"] for row in rows] == ["a", "�", "�"]
    assert [row["image"] for row in rows] == [JPEG, jpeg(1), jpeg(2)]
    assert len({row["uid"] for row in rows}) == 3
    with files.members(shard) as members_of:
        found = [[(suffix, bytes(data)) for suffix, data in members_of(row)] for row in rows]
    assert found == [[("jpg", JPEG)], [("jpg", jpeg(1))], [("jpg", jpeg(2)), ("txt", b"a")]]


def test_files_that_only_share_a_name_with_nothing_are_no_samples(tmp_path):
    put(tmp_path, "1.jpg", "metadata.csv", "weights.npy")
    assert [row["key"] for row in read(tmp_path)] == ["1"]


def test_pictures_of_other_formats_are_counted(tmp_path):
    put(tmp_path, "1.jpg", "2.gif", "3.heic")
    assert [(row["key"], row["image_format"], row["error"]) for row in read(tmp_path)] == [
        ("1", "jpg", "no caption; no json"),
        *((key, None, "no image member; no caption; no json") for key in "23"),
    ]


def test_a_link_is_as_in_a_tar_not_there(tmp_path):
    put(tmp_path / "pool", "1.txt", "2.jpg", ("secret", b"secret"))
    (tmp_path / "pool" / "1.jpg").symlink_to(tmp_path / "pool" / "2.jpg")
    (tmp_path / "pool" / "2.txt").symlink_to(tmp_path / "pool" / "secret")
    rows = read(tmp_path / "pool")
    assert [(row["key"], row["error"]) for row in rows] == [
        ("1", "no image member; no json"),
        ("2", "no caption; no json"),
    ]


def test_a_link_that_takes_a_files_place_is_not_followed(tmp_path):
    put(tmp_path / "pool", "1.jpg", "2.jpg", "3.jpg")
    files = kind(tmp_path / "pool")
    (shard,) = files.list_shards()
    source = files.read(shard, 1, {})
    next(source)
    (tmp_path / "pool" / "3.jpg").unlink()
    (tmp_path / "pool" / "3.jpg").symlink_to(tmp_path / "pool" / "1.jpg")
    with pytest.raises(OSError, match=r"3\.jpg"):
        list(source)


def test_a_file_that_is_too_large(tmp_path):
    put(tmp_path, "1.jpg", "1.txt")
    os.truncate(tmp_path / "1.jpg", (256 << 20) + 1)
    (row,) = read(tmp_path)
    assert row["error"] == "image member larger than 256 MiB; no json"
    assert (row["image"], row["image_length"]) == (None, (256 << 20) + 1)


def test_batches_are_cut_by_rows_and_by_bytes(tmp_path, monkeypatch):
    put(tmp_path, *(f"{i}.jpg" for i in range(7)))
    files = kind(tmp_path)
    (shard,) = files.list_shards()
    assert [len(frame) for frame, _ in files.read(shard, 3, {})] == [3, 3, 1]
    monkeypatch.setattr("pipeline.pool.tar_reader.tables.__defaults__", (2 * len(JPEG) + 1,))
    assert [len(frame) for frame, _ in files.read(shard, 100, {})] == [2, 2, 2, 1]


# --- a pool ---------------------------------------------------------------------------------------


def ordinary(folder: Path, counts=(7, 5)) -> Path:
    """Folders of ordinary samples, as img2dataset writes them; every third caption is too short to be kept."""
    number = 0
    for shard, count in enumerate(counts):
        for _ in range(count):
            caption = "no" if number % 3 == 2 else f"caption number {number}"
            put(folder / f"{shard:05d}", *sample(number, caption=caption))
            number += 1
        stats = {
            "count": count + 2,
            "successes": count,
            "status_dict": {"success": count, "HTTP Error 404: x": 2},
        }
        put(folder, (f"{shard:05d}_stats.json", json.dumps(stats).encode()))
    return folder


def recipe(tmp_path: Path, export=None, store="store", pool=None, **more):
    """Keeps captions of three characters and more."""
    return parse(
        {
            "name": "test",
            "pool": {
                "shards": str(tmp_path / "pool"),
                "kind": "files",
                "store": str(tmp_path / store),
                **(pool or {}),
            },
            "plugins": [str(PLUGINS)],
            "compute": {"caption": {"use": "caption.Caption"}, "vector": {"use": "vectors.Vector"}},
            "keep": {"caption.characters": {"min": 3}},
            "export": export or {},
            **more,
        }
    )


def decided(tmp_path: Path, export=None, **more) -> Session:
    session = Session.open(recipe(tmp_path, export, **more))
    assert compute(session, LocalExecutor()).pending == {}
    decide(session)
    return session


def exported(folder: Path) -> dict[str, bytes]:
    return {name: data for path in sorted(folder.glob("*.tar")) for name, data in read_tar(path)}


@pytest.mark.filterwarnings("ignore")
def test_everything_at_once(tmp_path):
    """`winnow run`: tars with the files byte for byte, a subset, an index, and books that balance."""
    pool = ordinary(tmp_path / "pool")
    out = {"shards": f"{tmp_path}/out", "subset": f"{tmp_path}/subset.npy", "samples_per_shard": 3}
    index = {"embedding": "vector.embedding", "path": f"{tmp_path}/index"}
    session = Session.open(recipe(tmp_path, {**out, "index": index}))
    assert [step.reads for step in preview(session).passes] == ["files, 0 MB"]
    result = steps.run_all(session, local=True, quiet=True)
    books = result.books
    assert (books.samples, books.kept, books.dropped, books.failed) == (12, 8, 4, 0)
    assert (books.listed, books.lost, books.damaged) == (16, {"HTTP 404": 4}, {})
    kept = [number for number in range(12) if number % 3 != 2]
    found = exported(tmp_path / "out")
    assert found == {
        f"{uid(number)}.{name.partition('.')[2]}": data
        for number in kept
        for name, data in sample(number, caption=f"caption number {number}")
    }
    sidecar = pl.concat(pl.read_parquet(path) for path in sorted((tmp_path / "out").glob("*.parquet")))
    assert sidecar["source_shard"].to_list() == ["00000/00000"] * 5 + ["00001/00000"] * 3
    assert sidecar["source_row"].to_list() == [0, 1, 3, 4, 6, 0, 2, 3]
    assert sidecar["source_key"].to_list() == [f"{number:09d}" for number in kept]
    assert sidecar["sha256"].to_list() == ["ab" * 32] * 8
    assert subset_uids(read_subset(out["subset"])) == sorted(uid(number) for number in kept)
    assert result.written["index"].rows == 8
    assert preview(session).passes == []
    assert check_storage(session) == []
    assert len(list(pool.rglob("*"))) == 12 * 3 + 4  # nothing was written there


def test_explain(tmp_path):
    ordinary(tmp_path / "pool")
    session = decided(tmp_path)
    (entry,) = explain(session, [uid(8)])
    assert (entry.shard, entry.row, entry.key, entry.keep) == (
        "00001/00000",
        1,
        "000000008",
        False,
    )
    assert [(rule.value, rule.verdict) for rule in entry.rules] == [(2, "fails")]


def test_lost_urls_count_once_if_a_folder_is_several_shards(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SAMPLES", 3)
    ordinary(tmp_path / "pool")
    session = decided(tmp_path)
    assert [shard.name for shard in session.shards] == [
        *(f"00000/{number:05d}" for number in range(3)),
        *(f"00001/{number:05d}" for number in range(2)),
    ]
    assert losses(session) == Losses({}, {"HTTP 404": 4})


def test_stopped_between_shards_and_started_again(tmp_path, monkeypatch):
    ordinary(tmp_path / "pool", (4, 3, 2))
    whole = decided(tmp_path, store="whole")
    session = Session.open(recipe(tmp_path))

    def stop_after_one(event):
        if event.read is not None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compute(session, LocalExecutor(), observe=lambda todo: stop_after_one)
    first = tmp_path / "store" / "samples" / "00000" / "00000.parquet"
    written = first.stat().st_mtime_ns
    assert [path.parent.name for path in sorted((tmp_path / "store" / "samples").rglob("*.parquet"))] == [
        "00000"
    ]
    again = decided(tmp_path)
    assert first.stat().st_mtime_ns == written
    assert tree(tmp_path / "store", without=("runs", "footers")) == tree(
        tmp_path / "whole", without=("runs", "footers")
    )
    assert again.keys == whole.keys


def test_an_export_goes_on_to_the_same_bytes(tmp_path):
    ordinary(tmp_path / "pool")
    session = decided(tmp_path, {"shards": f"{tmp_path}/out", "samples_per_shard": 3})
    export_shards(session, LocalExecutor())
    before = contents(tmp_path / "out")
    for suffix in (".tar", ".parquet", "_stats.json"):
        (tmp_path / "out" / f"00000001{suffix}").unlink()
    assert export_shards(session, LocalExecutor()).written == 1
    assert contents(tmp_path / "out") == before


@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_ray_equals_the_plain_loop_to_the_byte(tmp_path, monkeypatch):
    import ray

    from pipeline.run.on_ray import RayExecutor

    put(ordinary(tmp_path / "pool") / "00000", (b"\xff.jpg", JPEG), "broken.json")
    local = decided(tmp_path, {"shards": f"{tmp_path}/out_local"}, store="local")
    export_shards(local, LocalExecutor())
    run = {name: {"workers": 2, "cpus": 0.5} for name in ("caption", "vector")}
    made = recipe(tmp_path, {"shards": f"{tmp_path}/out_ray"}, store="ray", run=run)
    try:
        executor = RayExecutor(made, cpus=4)
        session = Session.open(made)
        assert compute(session, executor).pending == {}
        decide(session)
        export_shards(session, executor)
    finally:
        ray.shutdown()
    for one, two in (("local", "ray"), ("out_local", "out_ray")):
        assert tree(tmp_path / one, without=("runs", "footers")) == tree(
            tmp_path / two, without=("runs", "footers")
        )


# --- folders that change --------------------------------------------------------------------------


def rewrite(pool: Path) -> None:
    (pool / "00000" / "000000003.txt").write_bytes(b"caption number three")


def insert(pool: Path) -> None:
    put(pool / "00000", *sample(99, key="000000000a"))


def remove(pool: Path) -> None:
    for suffix in ("jpg", "txt", "json"):
        (pool / "00000" / f"000000003.{suffix}").unlink()


CHANGES = {
    rewrite: r"/pool/00000 has changed: the files of 000000003 have another size",
    insert: r"/pool/00000 has changed: sample 1 of 00000/00000 is not 000000001 there",
    remove: r"/pool/00000 has changed: sample 3 of 00000/00000 is not 000000003 there",
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_folder_that_changed_is_not_exported(tmp_path, change):
    pool = ordinary(tmp_path / "pool")
    decided(tmp_path)
    change(pool)
    session = Session.open(recipe(tmp_path, {"shards": f"{tmp_path}/out"}))
    with pytest.raises(ShardError, match=CHANGES[change]):
        export_shards(session, LocalExecutor())
    assert exported(tmp_path / "out") == {}


@pytest.mark.parametrize("change", CHANGES)
def test_a_shard_that_changed_is_refused_by_a_later_pass(tmp_path, change):
    """Even if it has as many samples as before."""
    pool = ordinary(tmp_path / "pool")
    decided(tmp_path)
    change(pool)
    more = {"bright": {"use": "planted.Brightness"}}
    log = compute(Session.open(recipe(tmp_path, compute=more, keep={})), LocalExecutor())
    assert log.pending == {"00000/00000": CHANGED.format(7)}


def test_a_file_that_vanishes_leaves_its_shard_pending(tmp_path, monkeypatch):
    pool = ordinary(tmp_path / "pool")
    listed = module._list

    def list_then_remove(folder):
        found = listed(folder)
        if folder.endswith("00001"):
            (pool / "00001" / "000000009.jpg").unlink(missing_ok=True)
        return found

    session = Session.open(recipe(tmp_path))
    monkeypatch.setattr(module, "_list", list_then_remove)
    log = compute(session, LocalExecutor())
    assert list(log.pending) == ["00001/00000"]
    assert log.pending["00001/00000"].startswith("FileNotFoundError: ")


# --- the recipe -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pool", "message"),
    [
        ({"kind": "photos"}, r"pool\.kind must be one of tars, tables, files, got 'photos'"),
        ({"kind": "datacomp"}, r"pool\.kind must be one of tars, tables, files, got 'datacomp'"),
        ({"columns": {"text": "a"}}, r"pool\.columns is for tables, and pool\.shards are files \(the first: .*/00000"),
        ({"kind": "tars"}, r"pool\.shards: no \*\.tar matches"),
    ],
)  # fmt: skip
def test_what_a_recipe_cannot_ask(tmp_path, pool, message):
    ordinary(tmp_path / "pool")
    with pytest.raises(RecipeError, match=message):
        Session.open(recipe(tmp_path, pool=pool))


def test_a_kind_that_the_names_of_the_files_deny(tmp_path):
    write_tar(tmp_path / "pool" / "0.tar", sample(1))
    pl.DataFrame({"text": ["a"]}).write_parquet(tmp_path / "0.parquet")
    assert len(Session.open(recipe(tmp_path, pool={"kind": "tars"})).shards) == 1
    with pytest.raises(RecipeError, match=r"pool\.kind is tables, and .*/pool/0\.tar is a tar"):
        Session.open(recipe(tmp_path, pool={"kind": "tables"}))
    with pytest.raises(RecipeError, match=r"pool\.kind is tars, and .*/0\.parquet is a table"):
        Session.open(recipe(tmp_path, pool={"kind": "tars", "shards": f"{tmp_path}/0.parquet"}))


def test_a_store_is_of_one_kind(tmp_path):
    ordinary(tmp_path / "pool", (2,))
    decided(tmp_path)
    write_tar(tmp_path / "pool" / "00000" / "00000.tar", sample(1))
    write_tar(tmp_path / "pool" / "1.tar", sample(2))
    with pytest.raises(RecipeError, match=r"holds samples of files, the recipe has tars; use a new store"):
        list_stored(Session.open(recipe(tmp_path, pool={"kind": "tars"})))


def test_operators_see_the_pictures(tmp_path):
    ordinary(tmp_path / "pool", (3,))
    session = decided(tmp_path)
    found = session.columns.read("00000/00000", ["vector.embedding", "uid"])
    assert found["vector.embedding"].null_count() == 0
    assert np.isfinite(found["vector.embedding"].to_numpy()).all()
