"""Pool, store and exports on object storage: a real S3 protocol server on loopback, and its faults."""

import json
import re
from contextlib import ExitStack
from pathlib import Path

import pytest
from typer.testing import CliRunner

from jobs import steps
from jobs.__main__ import main
from jobs.app import app
from jobs.toy.sample_pool import make_pool
from pipeline.assets import local_file
from pipeline.decide.books import Books
from pipeline.errors import ChangedError, ShardError
from pipeline.plan.session import Session
from pipeline.recipe.load import parse
from pipeline.run.compute import compute
from pipeline.run.executor import LocalExecutor
from pipeline.storage.identity import remote_state
from pipeline.storage.ranges import Watched, identify
from pipeline.storage.retry import from_storage
from tests.support.folders import contents
from tests.support.ingest_runs import LOOPBACK, ingest, write_list
from tests.support.s3_server import S3, s3
from tests.support.web_server import web

s3fs = pytest.importorskip("s3fs", reason="needs s3fs")
pytest.importorskip("moto", reason="needs moto[s3], flask, flask-cors: the server")
SHARDS, EACH = 3, 20


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A server with a pool of three shards of 20, and the same pool on disk."""
    folder = tmp_path_factory.mktemp("s3")
    make_pool(folder / "pool", shards=SHARDS, per_shard=EACH, seed=5, image_size=64)
    with s3() as server:
        fs = s3fs.S3FileSystem()
        fs.mkdir("bucket")
        fs.put(f"{folder}/pool/", "bucket/pool/", recursive=True)
        yield server, folder


@pytest.fixture
def server(place, monkeypatch) -> S3:
    """The server without faults, whose client gives up soon: s3fs asks twice, and botocore below it once,
    since that waits up to a second between two times."""
    monkeypatch.setattr("pipeline.storage.retry.BACKOFF", 0.01)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 2)
    place[0].reset()
    s3fs.S3FileSystem.clear_instance_cache()
    return place[0]


def recipe(root: str, store: str, **more):
    """One rule over a pool and its exports, all below `root`."""
    pool = {"shards": f"{root}/pool/{{00000..00002}}.tar", "store": f"{root}/{store}"}
    return parse(
        {
            "name": "test",
            "pool": pool,
            "compute": {"caption": {"use": "caption.Caption"}},
            "keep": {"caption.words": {"min": 3}},
            "export": {"shards": f"{root}/{store}-out", "subset": f"{root}/{store}.npy"},
            **more,
        }
    )


def books(store: str, **more) -> Books:
    return steps.run_all(Session.open(recipe("s3://bucket", store, **more)), local=True, quiet=True).books


UNEXPORTED = {"export": {}}  # of requests, an export makes two thirds


def test_the_same_bytes_as_on_disk(place, server, tmp_path):
    there = books("same")
    here = steps.run_all(Session.open(recipe(str(place[1]), "same")), local=True, quiet=True).books
    assert (there.samples, there.kept, there.rules) == (here.samples, here.kept, here.rules)
    fs = s3fs.S3FileSystem()
    fs.get("bucket/same-out/", f"{tmp_path}/out/", recursive=True)
    assert contents(tmp_path / "out") == contents(place[1] / "same-out")
    assert fs.cat_file("bucket/same.npy") == (place[1] / "same.npy").read_bytes()


def test_publication_is_a_single_put(server):
    books("single")
    puts = [call for call in server.calls if re.match("PUT /bucket/single", call)]
    manifests = [call for call in puts if call.endswith("winnow.json")]  # before the export and after it
    assert len(puts) == len(set(puts)) + len(manifests) - len(set(manifests))
    assert len(set(puts)) > 12
    assert not [call for call in puts if "partNumber" in call or "tmp" in call]
    assert server.count("POST /bucket") == 0
    assert [call for call in server.calls if call.startswith("DELETE")] == [
        "DELETE /bucket/single/.winnow.lock",
        "DELETE /bucket/single-out/.winnow.lock",
        "DELETE /bucket/.single.npy.winnow.lock",
    ]


def test_listing_and_resume_take_no_calls_per_shard(server):
    session = Session.open(recipe("s3://bucket", "calls"))
    session = compute(session, LocalExecutor()).session
    server.reset()
    found = Session.open(
        recipe("s3://bucket", "calls", pool={"shards": "s3://bucket/pool", "store": "s3://bucket/calls"})
    )
    assert len(found.shards) == SHARDS
    # The listing of the pool; store.json; of the samples: packs, a listing, the footers.
    assert len(server.calls) == 5
    server.reset()
    compute(Session.open(recipe("s3://bucket", "calls")), LocalExecutor())
    reads = [call for call in server.calls if call.startswith("GET /bucket/calls/") and "samples" in call]
    assert sorted(reads) == [
        f"GET /bucket/calls/{name}" for name in ("footers/samples.json", "packs/samples.parquet")
    ]
    assert server.count("HEAD /bucket/calls/(samples|columns)") == 0
    assert server.count("GET /bucket/pool/") == 0


@pytest.mark.parametrize("kind", ["500", "503", "reset", "cut"])
@pytest.mark.parametrize("pattern", ["GET /bucket/pool/00001.tar", "GET .*list-type", "PUT .*00001.parquet"])
def test_faults_that_pass_are_not_seen(server, kind, pattern):
    if kind == "cut" and pattern.startswith("PUT"):
        pytest.skip("the answer to a PUT has no body")
    server.fail(pattern, kind, times=1)
    found = books(f"passing-{kind}-{len(pattern)}", **UNEXPORTED)
    assert (found.samples, found.pending) == (SHARDS * EACH, {})


FOREVER = {
    "500": "internal error",
    "503": "reduce your request rate",
    "reset": "Could not connect|Connection",
    "cut": "payload is not completed",
    "expired": "PermissionError: The provided token has expired",
    "denied": "PermissionError: Access Denied",
}


@pytest.mark.parametrize("kind", FOREVER)
@pytest.mark.parametrize("pattern", ["GET /bucket/pool/00001.tar", "PUT .*columns/.*/00001.parquet"])
def test_a_shard_that_storage_refuses_is_pending_and_the_books_balance(server, kind, pattern):
    if kind == "cut" and pattern.startswith("PUT"):
        pytest.skip("the answer to a PUT has no body")
    store = f"refused-{kind}-{len(pattern)}"
    server.fail(pattern, kind)
    found = books(store, **UNEXPORTED)
    assert list(found.pending) == ["00001"]
    assert re.search(FOREVER[kind], found.pending["00001"])
    assert found.samples == 2 * EACH == found.kept + found.dropped + found.failed
    server.reset()
    again = books(store, **UNEXPORTED)
    assert (again.samples, again.pending) == (SHARDS * EACH, {})
    assert server.count("GET /bucket/pool/0000[02].tar") == 0


def test_a_missing_shard_is_pending(server):
    pool = {"shards": "s3://bucket/pool/{00000..00003}.tar", "store": "s3://bucket/missing"}
    session = Session.open(recipe("s3://bucket", "missing", pool=pool))
    found = steps.run_all(session, local=True, quiet=True).books
    assert list(found.pending) == ["00003"]
    assert found.pending["00003"].startswith("FileNotFoundError")
    assert found.samples == SHARDS * EACH == found.kept + found.dropped + found.failed


def test_a_store_that_is_down_is_an_error_without_a_traceback(server, tmp_path, monkeypatch, capsys):
    (tmp_path / "r.yaml").write_text(
        "pool: {shards: 's3://bucket/pool/{00000..00002}.tar', store: s3://bucket/down}\n"
        "compute: {caption: {use: caption.Caption}}\nkeep: {caption.words: {min: 3}}\n"
    )
    server.fail("GET .*list-type", "expired")
    monkeypatch.setattr("sys.argv", ["winnow", "run", str(tmp_path / "r.yaml"), "--local"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert "error: pool.store: s3://bucket/down: PermissionError: The provided token has expired." in said
    assert "run the same command again" in said


def test_an_error_of_ours_is_not_storage_s():
    assert from_storage(ConnectionResetError())
    assert not from_storage(ValueError())
    assert not from_storage(ZeroDivisionError())


def test_ingestion_into_a_bucket(server, tmp_path):
    with web() as (base, _):
        write_list(tmp_path / "list.tsv", [(f"a picture of {i}", f"{base}/photo/{i}") for i in range(6)])
        words = (tmp_path / "list.tsv", "s3://bucket/photos", "--rows", 3, "--local", "--processes", 1)
        made = ingest(*words, *LOOPBACK)
        assert (made["downloaded"], made["shards"]) == (6, 2)
        server.reset()
        assert ingest(*words, *LOOPBACK)["downloaded"] == 6
        assert server.count("PUT") == 0
    (tmp_path / "r.yaml").write_text(
        "pool: {shards: s3://bucket/photos, store: s3://bucket/photos-store}\n"
        "compute: {caption: {use: caption.Caption}}\nkeep: {caption.words: {min: 3}}\n"
    )
    ran = CliRunner().invoke(app, ["run", str(tmp_path / "r.yaml"), "--local", "--json"])
    assert ran.exit_code == 0, ran.output
    assert json.loads(ran.stdout)["books"]["kept"] == 6


def test_a_file_that_a_field_names_is_fetched_once_and_again_when_it_changes(server, monkeypatch, tmp_path):
    monkeypatch.setattr("pipeline.assets.CACHE", str(tmp_path / "cache"))
    s3fs.S3FileSystem().pipe_file("bucket/list.txt", b"first")
    path = local_file("s3://bucket/list.txt")
    s3fs.S3FileSystem.clear_instance_cache()  # as another process sees it
    assert local_file("s3://bucket/list.txt") == path
    assert Path(path).read_bytes() == b"first"
    s3fs.S3FileSystem().pipe_file("bucket/list.txt", b"later")
    assert Path(local_file("s3://bucket/list.txt")).read_bytes() == b"later"
    assert not Path(path).exists()
    with pytest.raises(FileNotFoundError, match=r"^s3://bucket/none\.txt does not exist$"):
        local_file("s3://bucket/none.txt")


def test_an_object_that_is_replaced_while_it_is_read(server, monkeypatch):
    """s3fs asks for the version that it opened. The next attempt does not ask for the old one again."""
    monkeypatch.setattr("pipeline.storage.ranges.CHUNK", 1 << 20)
    monkeypatch.setattr(s3fs.S3FileSystem, "default_block_size", 1 << 20)
    url = "s3://bucket/replaced"
    fs = s3fs.S3FileSystem()
    fs.pipe(url, bytes(8 << 20))
    (listed,) = fs.ls(url, detail=True)
    assert identify(url).state == remote_state(listed) == f"{8 << 20} {listed['ETag']}"
    with ExitStack() as stack:
        file = Watched(url, stack)
        file.read(10)
        s3fs.S3FileSystem(skip_instance_cache=True).pipe(url, b"other")
        with pytest.raises(ChangedError, match="replaced changed while it was read: it is read again"):
            file.finish()
    assert identify(url).state.startswith("5 ")
    fs.rm(url)


def test_what_is_damaged_there_is_named_and_heals(server):
    """S3 answers an error to a request for the first byte of an empty file."""
    session = Session.open(recipe("s3://bucket", "damage"))
    session = compute(session, LocalExecutor()).session
    root = session.store.root
    root.publish("samples/00001.parquet", b"")
    root.publish("footers/samples.json", b"")
    found = books("damage")
    assert (found.samples, found.pending) == (SHARDS * EACH, {})
    # A file that keeps its footer is found out when it is read, and computed by the next run.
    [verdicts] = {name for name in root.file_names("decisions") if name.endswith("/00000.parquet")}
    data = root.read(f"decisions/{verdicts}")
    root.publish(f"decisions/{verdicts}", data[:4] + b"\xff" + data[5:])
    root.fs.rm(root.path("").rstrip("/") + "-out", recursive=True)
    with pytest.raises(ShardError, match=f"decisions/{verdicts} is damaged: its bytes do not match"):
        books("damage")
    assert books("damage").kept == found.kept
    assert root.read(f"decisions/{verdicts}") == data
