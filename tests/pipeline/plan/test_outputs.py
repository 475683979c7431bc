"""Outputs that are inputs, that the next run would read, or that get into each other's way."""

import os
import re
from pathlib import Path

import pytest

from pipeline.errors import RecipeError
from pipeline.plan.output_paths import check_output_path
from pipeline.plan.outputs import check_output_file
from pipeline.plan.session import Session
from pipeline.recipe.load import parse
from tests.support.paths import PLUGINS


@pytest.fixture
def pool(tmp_path, monkeypatch) -> Path:
    """Two tars in pool/, one in pool/sub/; relative paths start at tmp_path."""
    for name in ("0.tar", "1.tar", "sub/2.tar"):
        (tmp_path / "pool" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "pool" / name).write_bytes(b"tar")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "pool"


def opened(shards="pool", store="store", **more) -> Session:
    """A session on the pool."""
    export = {key: more.pop(key) for key in ("shards_out", "subset", "urls", "table") if key in more}
    if "shards_out" in export:
        export["shards"] = export.pop("shards_out")
    return Session.open(parse({"pool": {"shards": shards, "store": store}, "export": export, **more}))


def refused(match: str, **recipe) -> None:
    """The recipe is refused, with a message that matches."""
    with pytest.raises(RecipeError, match=match):
        opened(**recipe)


@pytest.mark.parametrize("path", ["pool/0.tar", "pool/../pool/0.tar", "link.tar", "hard.tar"])
def test_an_output_that_is_a_shard(pool, path):
    os.symlink(pool / "0.tar", "link.tar")
    os.link(pool / "0.tar", "hard.tar")
    refused(rf"export\.subset: {path} is a file that pool\.shards reads", shards="pool/*.tar", subset=path)


def test_an_output_that_is_a_shard_which_does_not_exist_yet(pool):
    refused(
        r"export\.table: pool/7\.tar is a file that pool\.shards reads",
        shards="pool/{0,7}.tar",
        table="pool/7.tar",
    )


def test_an_output_that_is_reached_through_a_link_to_its_shard(pool):
    os.symlink(pool / "0.tar", "other.tar")
    refused(r"export\.subset: pool/0\.tar is a file that", shards="other.tar", subset="pool/0.tar")


def test_an_output_that_an_operator_reads(pool):
    Path("metadata.json").write_text('["a"]')
    compute = {"match": {"use": "metaclip.EntryMatch", "metadata": "metadata.json"}}
    refused(
        r"export\.subset: metadata\.json is a file that compute\.match\.metadata reads",
        subset="metadata.json",
        compute=compute,
    )


SEARCHED = [
    ("pool", {"store": "pool/store"}),
    ("pool", {"store": "pool"}),
    ("pool", {"shards_out": "pool/out"}),
    ("pool", {"urls": "pool/a/b"}),
    ("pool", {"table": "pool/table.parquet"}),
    ("pool/*", {"table": "pool/table.parquet"}),
    ("pool/*/*.tar", {"shards_out": "pool/out"}),
    ("**/*.tar", {"shards_out": "pool/a/b/c"}),
]


@pytest.mark.parametrize(("shards", "output"), SEARCHED)
def test_an_output_that_the_next_run_would_read(pool, shards, output):
    refused("searches .*: the next run would read it as part of the pool", shards=shards, **output)


ALLOWED = [
    ("pool/*.tar", {"store": "pool/store", "shards_out": "pool/out", "table": "pool/table.parquet"}),
    ("pool/{0,1}.tar", {"store": "pool/store", "shards_out": "pool/out"}),
    ("pool/*/*.tar", {"store": "pool/store", "urls": "pool/urls"}),  # nothing there ends in .tar
    ("pool/s*/*", {"shards_out": "pool/out"}),
    ("pool", {"store": "pool/.store", "subset": "pool/subset.npy"}),
    ("pool", {"store": "pool-store", "subset": "pool.npy"}),
    ("pool/0.tar", {"shards_out": "pool/out"}),
    ("pool", {"shards_out": "out", "subset": "out/subset.npy", "table": "out/table.parquet"}),
]


@pytest.mark.parametrize(("shards", "output"), ALLOWED)
def test_an_output_that_the_next_run_does_not_find(pool, shards, output):
    assert opened(shards, **output).shards


def test_a_store_whose_folders_the_pool_is(pool):
    (pool / "samples").mkdir()
    (pool / "samples" / "0.parquet").write_bytes(b"PAR1")
    refused(r"pool\.store: pool lies around .*pool/samples", shards="pool/samples", store="pool")


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ({"shards_out": "out", "urls": "out"}, r"export\.urls: out is the path of export\.shards too"),
        ({"shards_out": "out", "urls": "x/../out/"}, r"both write to"),
        ({"shards_out": "store"}, r"pool\.store and export\.shards both write to store"),
        ({"shards_out": "store/out"}, r"export\.shards: store/out lies in store, which pool\.store writes"),
        ({"subset": "store/subset.npy"}, r"export\.subset: store/subset\.npy lies in store"),
        ({"store": "out/store", "shards_out": "out"}, r"pool\.store: out/store lies in out, which export\."),
        ({"shards_out": "out", "urls": "out/urls"}, r"export\.urls: out/urls lies in out, which export\."),
        ({"subset": "out", "urls": "out/urls"}, r"export\.urls: out/urls lies in out, which export\.subset"),
    ],
)
def test_outputs_in_each_others_way(pool, output, message):
    refused(message, **output)


OWN_FILES = [
    ("shards", "sizes.json"),
    ("shards", "meta.json"),
    ("shards", "00000000.tar"),
    ("shards", "00012345.parquet"),
    ("shards", "00000001_stats.json"),
    ("shards", "00000001.tar/deeper/x.npy"),
    ("urls", "00000007.parquet"),
    ("index", "image.index"),
    ("index", "image.json"),
    ("index", "metadata/metadata_0.parquet"),
    ("index", "metadata/more.parquet"),
]


@pytest.mark.parametrize(("outer", "name"), OWN_FILES)
def test_an_output_at_a_file_that_another_export_writes(pool, outer, name):
    os.makedirs("out")
    os.symlink("out", "link")
    index = {"path": "out/", "embedding": "thumb.vector"}
    compute = {"thumb": {"use": "thumbnails.Thumbnail"}}
    around = {"compute": compute, "plugins": [str(PLUGINS)], "export": {outer: "out/"}}
    if outer == "index":
        around["export"] = {"index": index}
    about = {"pool": {"shards": "pool/*.tar", "store": "store"}, **around}
    session = Session.listed(parse(about))
    first, key = name.split("/")[0], next(iter(session.recipe.export.destinations()))
    for path in (f"out/{name}", f"./x/../link/{name}"):
        told = re.escape(f"{path}: {key} writes {first} in out/; name another path")
        with pytest.raises(RecipeError, match=f"^export.subset: {told}"):
            Session.listed(parse({**about, "export": {**about["export"], "subset": path}}))
        with pytest.raises(RecipeError, match=f"^--subset: {told}"):
            check_output_file("--subset", path, session.recipe, session.kind, session.shards)
    for path in ("out/subset.npy", "out/more/sizes.json", "out/0.tar"):
        check_output_file("--subset", path, session.recipe, session.kind, session.shards)


def test_outputs_over_what_is_neither_file_nor_folder(pool):
    os.mkfifo("fifo")
    os.symlink("fifo", "link")
    Path("file").write_bytes(b"")
    for key, path, kind in (
        ("subset", "fifo", "a FIFO, not a file"),
        ("subset", "link", "a FIFO, not a file"),
        ("table", "pool", "a folder, not a file"),
        ("urls", "file", "a file, not a folder"),
        ("store", "fifo", "a FIFO, not a folder"),
    ):
        where = "pool" if key == "store" else "export"
        refused(rf"{where}\.{key}: {path} is {kind}; name another path", **{key: path})
    with pytest.raises(RecipeError, match="--subset: fifo is a FIFO"):
        check_output_path("fifo", "--subset")
    check_output_path("new", "--subset")
    check_output_path("memory://new", "--subset")


def test_outputs_that_cannot_be_shown_or_made(pool):
    for path, why in (
        ("a\0b", r"'a\\x00b' has control characters"),
        ("\x1b[31m", r"'\\x1b\[31m' has control characters"),
        ("a\u202eb", "has control characters"),
        ("x" * 5000, r"x\.\.\. \(5,000 characters\): File name too long"),
        ("https://example.org/a", "a web address, to which nothing can be written"),
    ):
        for key in ("subset", "table", "urls"):
            refused(rf"export\.{key}: .*{why}.*; name another path", **{key: path})


def test_one_more_output(pool):
    session = opened()
    bound = (session.recipe, session.kind, session.shards)
    with pytest.raises(RecipeError, match=r"--subset: pool/0\.tar is a file that pool\.shards reads"):
        check_output_file("--subset", "pool/0.tar", *bound)
    with pytest.raises(RecipeError, match=r"--subset: store/x\.npy lies in store, which pool\.store writes"):
        check_output_file("--subset", "store/x.npy", *bound)
    check_output_file("--subset", "subset.npy", *bound)


def test_one_more_output_that_the_next_run_would_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    Path("photos/1.jpg").write_bytes(b"")
    Path("tables").mkdir()
    Path("tables/1.parquet").write_bytes(b"")
    for shards, kind, name in (("photos", "files", "x.png"), ("tables/*.parquet", "tables", "x.parquet")):
        folder = shards.split("/")[0]
        session = Session.open(parse({"pool": {"shards": shards, "kind": kind, "store": "store"}}))
        bound = (session.recipe, session.kind, session.shards, session.searched)
        with pytest.raises(RecipeError, match=rf"--out: {folder}/{name} lies where pool\.shards searches"):
            check_output_file("--out", f"{folder}/{name}", *bound)
        if kind == "files":
            with pytest.raises(
                RecipeError, match=r"--out: photos/x\.html lies among the files of .*/photos,"
            ):
                check_output_file("--out", "photos/x.html", *bound)
        check_output_file("--out", f"{folder}/pages/x.html", *bound)
        check_output_file("--out", name, *bound)


def test_other_storage():
    import fsspec

    fs = fsspec.filesystem("memory")
    fs.pipe("/outputs/0.tar", b"1")
    try:
        braces = "memory://outputs/{0,1}.tar"
        assert opened(braces, store="memory://outputs/store", shards_out="memory://outputs/out").shards
        refused("searches memory:///outputs", shards="memory://outputs", store="memory://outputs/store")
        refused("reads", shards=braces, store="memory://s", subset="memory://outputs/1.tar")
    finally:
        fs.rm("/outputs", recursive=True)


def test_datacomp_and_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    Path("photos/1.jpg").write_bytes(b"")

    def photos(**export):
        pool = {"shards": "photos", "kind": "files", "store": "photos/store"}
        return Session.open(parse({"pool": pool, "export": export}))

    assert photos(subset="photos/of/kept.npy", shards="photos/out").shards  # no picture lies there
    with pytest.raises(RecipeError, match=r"subset: photos/kept\.npy lies among the files of .*pool changed"):
        photos(subset="photos/kept.npy")
    with pytest.raises(RecipeError, match=r"export\.table: photos/1\.jpg lies where"):
        photos(table="photos/1.jpg")
