"""Checks before a job: an error for each thing that cannot run, a warning with the setting to change."""

import json
import os
import re

import pytest
import s3fs
from typer.testing import CliRunner

from jobs.__main__ import main
from jobs.app import app
from pipeline.errors import RecipeError
from pipeline.plan.cluster import Node, Placement
from pipeline.plan.passes import Stored, plan
from pipeline.plan.session import Session
from pipeline.pool.shards import Shard
from pipeline.preflight.checks import check_cluster, check_shards, check_storage, parse_cluster
from pipeline.preflight.preview import preview
from pipeline.recipe.load import parse
from tests.support.s3_server import s3

TWO = {"bright": {"use": "planted.Brightness"}, "length": {"use": "planted.Length"}}


@pytest.fixture
def bound(planted):
    """bound(shards, store=, **sections) -> a session whose pool and store do not exist."""

    def build(shards: int = 3, store: str = "/pool/store", **sections: object) -> Session:
        pool = {"shards": "/pool/*.tar", "store": store}
        recipe = parse({"pool": pool, "compute": TWO, "plugins": [planted], **sections})
        return Session(recipe, tuple(Shard(f"{i}", f"/pool/{i}.tar", 100 << 20) for i in range(shards)))

    return build


def passes(session: Session) -> list:
    return plan(session.recipe, session.shards, session.keys, Stored())


# --- the cluster -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "nodes"),
    [
        ("8", [Node(8, 0)]),
        ("2x12:1", [Node(12, 1)] * 2),
        ("16x8, 2x12:4", [Node(8, 0)] * 16 + [Node(12, 4)] * 2),
        ("0.5", [Node(0.5, 0)]),
        ("2x12:1@64,32@256", [Node(12, 1, 64)] * 2 + [Node(32, 0, 256)]),
    ],
)
def test_the_shape_of_a_cluster(text, nodes):
    assert parse_cluster(text) == nodes


@pytest.mark.parametrize("text", ["", "x8", "8x", "2x12:", "2x12:1:1", "8,", "eight", "-1x8"])
def test_a_shape_that_is_none(text):
    with pytest.raises(RecipeError, match=r"--cluster must be MACHINESxCPUS\[:GPUS\]"):
        parse_cluster(text)


def test_pools_as_they_would_be_placed(bound):
    session = bound(run={"bright": {"gpus": 1}})
    ((bright, length),), _ = check_cluster(session, passes(session), parse_cluster("4x8,2x12:1"))
    assert (bright.workers, bright.gpus) == (2, 1)
    assert length.gpus == 0


def test_all_that_cannot_run_is_said_at_once(bound):
    session = bound(store="store", run={"bright": {"gpus": 1}}, export={"subset": "out.npy"})
    with pytest.raises(RecipeError) as raised:
        check_cluster(session, passes(session), parse_cluster("4x8"))
    lines = str(raised.value).splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("pool.store must be an absolute path")
    assert lines[1].startswith("run.bright.gpus asks for 1, the cluster has 0")


def test_where_the_index_is_built(tiny_clip):
    """By default on most of the machine with the most memory, else on one that has what `run.index` asks
    for."""
    clip = {"use": "clip.ClipScore", "model": tiny_clip.config, "pretrained": tiny_clip.weights}
    data = {
        "pool": {"shards": "/pool/*.tar", "store": "/pool/store"},
        "compute": {"clip": clip},
        "export": {"index": {"embedding": "clip.image_embedding", "path": "/index"}},
    }

    def placed(run: dict, cluster: str) -> Placement | None:
        session = Session(parse({**data, "run": run}), (Shard("0", "/pool/0.tar", 100),))
        return check_cluster(session, [], parse_cluster(cluster))[1]

    assert placed({}, "4x8@32,16@128") == Placement(1, 12, 0, 12, 0)
    asked = {"index": {"cpus": 4, "memory": 100}}
    assert placed(asked, "4x8@32,16@128") == Placement(1, 4, 0, 4, 100)
    with pytest.raises(RecipeError, match=r"run.index.memory asks for 100, the largest machine has 32 GiB"):
        placed(asked, "4x8@32")
    with pytest.raises(RecipeError, match=r"run.index.cpus asks for 24, the largest machine .* has 8"):
        placed({"index": {"cpus": 24, "memory": 20}}, "4x8@32,64@16")
    with pytest.raises(RecipeError, match=r"run.index.workers: the FAISS index takes cpus and memory only"):
        placed({"index": {"workers": 2}}, "8")
    with pytest.raises(RecipeError, match=r"run: index is not an operator of this recipe"):
        parse({**data, "export": {}, "run": {"index": {"cpus": 1}}})
    with pytest.raises(RecipeError, match=r"compute.index: this name is reserved for the FAISS index"):
        parse({**data, "compute": {"clip": clip, "index": {"use": "caption.Caption"}}})


def test_fewer_shards_than_workers(bound):
    session = bound(shards=3, run={"bright": {"workers": 4, "cpus": 1}})
    (warning,) = check_shards(passes(session))  # known without a cluster
    assert warning == (
        "run.bright: 4 workers but 3 shards, and each shard is read by one reader: cut the pool into more shards, "
        "or set run.bright.workers=3"
    )
    assert check_shards(passes(bound(shards=4, run={"bright": {"workers": 4, "cpus": 1}}))) == []
    session = bound(shards=3)
    pools, _ = check_cluster(session, passes(session), parse_cluster("4x8"))
    (warning,) = check_shards(passes(session), pools)
    assert warning.startswith("run.bright: 32 workers but 3 shards, ")
    assert check_shards(passes(session)) == []


# --- storage ---------------------------------------------------------------------------------------


def written(tmp_path, pool: str, store: str) -> str:
    path = tmp_path / "recipe.yaml"
    path.write_text(
        f"pool: {{shards: '{pool}', store: '{store}'}}\n"
        "compute: {caption: {use: caption.Caption}}\nkeep: {caption.words: {min: 2}}\n"
    )
    return str(path)


def test_a_missing_first_shard_is_a_warning(tmp_path, write_pool):
    write_pool(["a dog"], shard="00001")
    recipe = written(tmp_path, f"{tmp_path}/pool/{{00000..00001}}.tar", f"{tmp_path}/store")
    done = CliRunner().invoke(app, ["plan", recipe, "--json"])
    assert done.exit_code == 0, done.output
    (warning,) = json.loads(done.stdout)["warnings"]
    assert warning.startswith(
        f"pool.shards: {tmp_path}/pool/00000.tar does not exist; a missing shard stays pending"
    )


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_store_that_cannot_be_written(tmp_path, write_pool):
    (tmp_path / "locked").mkdir(mode=0o500)
    write_pool(["a dog"])
    session = Session.open(
        parse({"pool": {"shards": f"{tmp_path}/pool", "store": f"{tmp_path}/locked/store"}})
    )
    (warning,) = check_storage(session)
    assert warning.startswith(f"pool.store: {tmp_path}/locked cannot be written")


def test_a_store_below_a_file(tmp_path, write_pool):
    path = write_pool(["a dog"])
    session = Session.open(parse({"pool": {"shards": str(path), "store": f"{path}/store"}}))
    with pytest.raises(
        RecipeError, match=rf"pool.store: {path} is not a folder, or one above it is not: move"
    ):
        check_storage(session)


def fails(capsys, monkeypatch, *words: str) -> str:
    monkeypatch.setattr("sys.argv", ["winnow", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    assert ended.value.code == 2, said.err
    return said.err


def test_credentials(tmp_path, write_pool, monkeypatch, capsys):
    """Missing ones fail as the pool is listed; expired ones fail for the store and for a shard."""
    path = write_pool(["a dog"])
    with s3() as server:
        fs = s3fs.S3FileSystem()
        fs.mkdir("preflight")
        fs.put(str(path), "preflight/pool/00000.tar")
        recipe = written(tmp_path, "s3://preflight/pool/{00000..00000}.tar", "s3://preflight/store")
        assert CliRunner().invoke(app, ["plan", recipe]).exit_code == 0
        server.fail("GET .*preflight", "expired")
        s3fs.S3FileSystem.clear_instance_cache()
        said = fails(capsys, monkeypatch, "plan", recipe)
        for key, url in (("store", "s3://preflight/store"), ("shards", "s3://preflight/pool/00000.tar")):
            assert re.search(rf"error: pool.{key}: {url}: PermissionError: .*token has expired", said), said
        server.reset()
        with monkeypatch.context() as anonymous:
            for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
                anonymous.delenv(name)
            anonymous.setenv("AWS_EC2_METADATA_DISABLED", "true")
            anonymous.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
            s3fs.S3FileSystem.clear_instance_cache()
            said = fails(capsys, anonymous, "plan", recipe)
            assert "error: pool.shards: s3://preflight/pool/00000.tar: NoCredentialsError" in said
            listed = written(tmp_path, "s3://preflight/pool", "s3://preflight/store")
            said = fails(capsys, anonymous, "plan", listed)
            assert (
                "error: pool.shards: s3://preflight/pool: NoCredentialsError: Unable to locate credentials"
                in said
            )
        s3fs.S3FileSystem.clear_instance_cache()


def test_a_plan_for_a_cluster(bound, tmp_path, write_pool, planted, monkeypatch):
    """It has the pools and a warning of the working directory; a plan without a cluster has neither."""
    write_pool(["a dog"])
    pool = {"shards": f"{tmp_path}/pool", "store": f"{tmp_path}/store"}
    session = Session.open(parse({"pool": pool, "compute": TWO, "plugins": [planted]}))
    monkeypatch.setattr("pipeline.preflight.preview.check_upload", lambda folder: [f"too large: {folder}"])
    found = preview(session, parse_cluster("2x2"))
    ((step,),) = [found.passes]
    assert [pool.operators for pool in step.pools] == [("bright", "length")]
    assert "too large: ." in found.warnings
    assert preview(session).warnings == []


# --- what is missing -------------------------------------------------------------------------------


@pytest.fixture
def lacking(tmp_path, write_pool, monkeypatch):
    """A session whose operator has no weights, and asks for a GPU on a machine without one."""
    write_pool(["a dog"])
    monkeypatch.setattr("pipeline.plan.absent.DEVICES", tmp_path)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return Session.open(
        parse(
            {
                "pool": {"shards": f"{tmp_path}/pool", "store": f"{tmp_path}/store"},
                "compute": {"clip": {"use": "clip.ClipScore", "model": "ViT-L14", "pretrained": "/none.pt"}},
                "run": {"clip": {"gpus": 1}},
            }
        )
    )


FILES = [
    "compute.clip.model: open_clip does not know the model ViT-L14 (did you mean ViT-L-14?)",
    "compute.clip.pretrained: there is no file /none.pt",
]


def test_all_that_is_missing_is_said(lacking):
    gpu = "run.clip.gpus asks for 1, this machine has 0 (on CPU: --set run.clip.gpus=0)"
    found = preview(lacking)
    assert (found.refused, found.warnings) == ([*FILES, gpu], [])


def test_the_gpus_of_a_cluster_are_not_those_of_this_machine(lacking, monkeypatch):
    assert preview(lacking, [Node(8, 1)]).refused == FILES
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    assert preview(lacking).refused == FILES


def test_nothing_can_be_measured_then(lacking):
    with pytest.raises(RecipeError, match=r"compute\.clip\.pretrained: there is no file /none\.pt"):
        preview(lacking, count=1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("9999999999x8", "at most 100,000 machines"),
        ("60000x8,60000x8", "at most 100,000 machines"),
        ("9" * 5000 + "x8", "at most 100,000 machines"),
        ("0x8", "has no machines, no CPUs"),
        ("2x0", "has no machines, no CPUs"),
        ("1x" + "9" * 400, "a number of over 9 digits"),
        ("1x8:" + "9" * 5000, "a number of over 9 digits"),
        ("", "--cluster must be"),
        ("[red]", "--cluster must be"),
    ],
)
def test_clusters_are_bounded(text, expected):
    with pytest.raises(RecipeError, match=expected):
        parse_cluster(text)
