"""DataComp folders that are incomplete, garbled, or asked for something they do not have."""

import os
import pickle
import zipfile

import numpy as np
import pytest

from pipeline.decide.decide import decide
from pipeline.errors import RecipeError, ShardError
from pipeline.plan.session import Session
from pipeline.plan.stored import complete
from pipeline.pool.columns import Columns
from pipeline.pool.kinds.datacomp import InPlace
from pipeline.recipe.load import parse
from pipeline.run.compute import compute
from pipeline.run.executor import LocalExecutor
from pipeline.storage.store import Store
from tests.pipeline.pool.made_datacomp import UIDS, kept, write
from tests.support.s3_server import s3


def unread(session):
    """The shards that a run could not read, with reasons."""
    return compute(session, LocalExecutor()).pending


# --- errors ---------------------------------------------------------------------------------------


def test_a_missing_partner(datacomp_folder, datacomp_session):
    (datacomp_folder / "00000001.npz").unlink()
    with pytest.raises(RecipeError, match=r"00000001\.parquet has no 00000001\.npz"):
        datacomp_session()
    (datacomp_folder / "00000000.npz").rename(datacomp_folder / "b.npz")
    with pytest.raises(
        RecipeError, match=r"b\.npz has no b\.parquet; 00000000\.parquet has no 00000000\.npz"
    ):
        datacomp_session()


def test_without_any_npz_scores_can_be_read_and_embeddings_not(tmp_path, datacomp_session):
    write(tmp_path / "metadata")
    assert kept(datacomp_session({"datacomp.l14_score": {"min": 0.85}})) == [UIDS[9]]
    with pytest.raises(
        RecipeError, match=r"holds no npz files, and datacomp\.b32_image_embedding lies in them"
    ):
        datacomp_session(export={"index": {"embedding": "datacomp.b32_image_embedding", "path": "index"}})


def test_unequal_lengths(datacomp_folder, datacomp_session):
    arrays = dict(np.load(datacomp_folder / "00000001.npz"))
    np.savez(datacomp_folder / "00000001.npz", **{**arrays, "l14_txt": arrays["l14_txt"][:-1]})
    pending = unread(datacomp_session())
    assert list(pending) == ["00000001"]
    assert "00000001.npz: l14_txt has 199 rows, the parquet 200" in pending["00000001"]


@pytest.mark.parametrize("bad", ["a" * 31, "g" * 32, "a" * 33, "", None, "é" * 16])
def test_a_uid_that_is_not_hex(bad, tmp_path, datacomp_session):
    """The shard is not done; the others are."""
    write(tmp_path / "metadata", uid=[UIDS[0], UIDS[1], bad])
    write(tmp_path / "metadata", name="b", uid=UIDS[3:5])
    made = datacomp_session({"datacomp.l14_score": {"min": 0}})
    pending = unread(made)
    assert list(pending) == ["a"]
    assert f"a.parquet: row 2: uid {bad!r} must be 32 hex digits" in pending["a"]
    assert kept(made.without(pending)) == list(UIDS[3:5])


def test_a_folder_that_is_mended_is_read_again(tmp_path, datacomp_session):
    write(tmp_path / "metadata", uid=["bad"])
    assert list(unread(datacomp_session())) == ["a"]
    write(tmp_path / "metadata")
    found = complete(datacomp_session({"datacomp.l14_score": {"min": 0}}))
    assert [shard.rows for shard in found.shards] == [len(UIDS)]


def test_a_missing_column(tmp_path, datacomp_session):
    write(tmp_path / "metadata", text=None)
    made = datacomp_session({"length.value": {"min": 1}}, compute={"length": {"use": "planted.Length"}})
    assert (
        "no column text or caption (for text); there are: uid" in compute(made, LocalExecutor()).pending["a"]
    )
    with pytest.raises(ShardError, match="no column clip_b32_similarity_score"):
        decide(complete(datacomp_session({"datacomp.b32_score": {"min": 0}})))


def test_a_garbled_npz(datacomp_folder, datacomp_session):
    whole = (datacomp_folder / "00000000.npz").read_bytes()
    (datacomp_folder / "00000000.npz").write_bytes(whole[:-100])
    pending = unread(datacomp_session())
    assert list(pending) == ["00000000"]
    assert "00000000.npz is not a whole .npz" in pending["00000000"]


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"array_width": 4}, "must have 1 to 4 numbers in a row, got float16 (300, 8) (limits.array_width)"),
        ({"unpacked_bytes": 1, "unpacked_ratio": 1}, "(limits.unpacked_bytes, limits.unpacked_ratio)"),
        ({"table_columns": 1}, "(limits.table_columns)"),
    ],
)
def test_a_limit_that_is_raised_lets_a_shard_be_read(limits, message, datacomp_folder, datacomp_session):
    names = [f"{datacomp_folder}/{name}.npz" for name in ("00000000", "00000001")]
    for name in names:
        np.savez_compressed(name, **np.load(name))
    pending = unread(datacomp_session(limits=limits))
    assert len(pending) == 2
    assert message in pending["00000000"]
    assert unread(datacomp_session()) == {}


def test_a_garbled_row_of_an_npz(datacomp_folder, datacomp_session):
    """A member's checksum is that of all its rows, so a shard with one wrong bit stays pending."""
    path = datacomp_folder / "00000000.npz"
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo("l14_img.npy").header_offset
    data = bytearray(path.read_bytes())
    data[start + 2000] ^= 1
    path.write_bytes(data)
    with pytest.raises(ShardError, match=r"Bad CRC-32"):
        datacomp_session().columns.read("00000000", ["datacomp.l14_image_embedding"])


def test_no_parquet(tmp_path, datacomp_session):
    (tmp_path / "metadata").mkdir()
    with pytest.raises(RecipeError, match=r"pool\.datacomp: .* holds no \*\.parquet"):
        datacomp_session()
    (tmp_path / "metadata").rmdir()
    with pytest.raises(RecipeError, match=r"pool\.datacomp: .*metadata does not exist: check the path"):
        datacomp_session()


def test_a_folder_that_grows_and_changes(tmp_path, datacomp_session):
    """More files are more shards; rewritten files have another content, and touched ones have not."""
    write(tmp_path / "metadata")
    (first,) = complete(datacomp_session()).shards
    write(tmp_path / "metadata", name="b")
    assert complete(datacomp_session()).shards[0].content == first.content
    os.utime(tmp_path / "metadata/a.parquet", (1, 1))
    assert complete(datacomp_session()).shards[0].content == first.content
    write(tmp_path / "metadata", uid=UIDS[:5])
    changed, _ = complete(datacomp_session()).shards
    assert (changed.content != first.content, changed.rows) == (True, 5)


@pytest.mark.parametrize(
    ("pool", "message"),
    [
        ({"datacomp": "a", "shards": "b.tar"}, "must have exactly one of shards .* got both"),
        ({}, "must have exactly one of shards .* got none"),
        ({"datacomp": "a", "columns": {"text": "b"}}, "has columns, which only the tables"),
    ],
)
def test_a_pool_is_of_one_kind(pool, message):
    with pytest.raises(RecipeError, match=message):
        parse({"pool": {**pool, "store": "store"}})


def test_images_are_not_there(datacomp_folder, datacomp_session):
    with pytest.raises(RecipeError, match=r"compute\.image reads images, and pool\.datacomp are tables"):
        datacomp_session(compute={"image": {"use": "planted.Brightness"}})


def test_the_name_is_taken(datacomp_folder, datacomp_session):
    with pytest.raises(
        RecipeError,
        match=r"compute\.datacomp: this name is reserved for the columns of pool\.datacomp; choose another",
    ):
        datacomp_session(compute={"datacomp": {"use": "planted.Length"}})


def test_only_such_pools_have_such_columns(planted):
    with pytest.raises(RecipeError, match=r"datacomp\.l14_score is not a column of this recipe"):
        parse({"pool": {"shards": "a.tar", "store": "s"}, "keep": {"datacomp.l14_score": {"min": 0}}})


def test_columns_travel(datacomp_folder, tmp_path):
    store = Store(f"{tmp_path}/store")
    columns = pickle.loads(pickle.dumps(Columns(store, {}, InPlace(str(datacomp_folder), store))))
    assert len(columns.read("00000000", ["uid"])) == 300


def test_on_object_storage_a_bad_shard_leaves_the_others_alone(tmp_path, datacomp_session):
    pytest.importorskip("moto", reason="needs moto[s3], flask, flask-cors: the server")
    import boto3

    write(tmp_path / "metadata", name="uid", uid=[UIDS[0], "bad"])
    write(tmp_path / "metadata", name="score", clip_l14_similarity_score=["0.1", "high"])
    write(tmp_path / "metadata", name="well", uid=UIDS[3:5])
    for name in ("uid", "score", "well"):
        np.savez(tmp_path / f"metadata/{name}.npz", l14_img=np.ones((2, 4), np.float16))
    write(tmp_path / "metadata", name="npz", uid=UIDS[5:7])
    (tmp_path / "metadata/npz.npz").write_bytes((tmp_path / "metadata/uid.npz").read_bytes()[:-20])
    with s3():
        client = boto3.client("s3")
        client.create_bucket(Bucket="pool")
        for path in (tmp_path / "metadata").iterdir():
            client.put_object(Bucket="pool", Key=f"a/{path.name}", Body=path.read_bytes())
        pool = {"datacomp": "s3://pool/a", "store": f"{tmp_path}/store"}
        made = Session.open(parse({"pool": pool, "keep": {"datacomp.l14_score": {"min": 0}}}))
        pending = unread(made)
        assert kept(made.without(pending)) == list(UIDS[3:5])
    reasons = {
        "uid": "row 1: uid 'bad' must be 32 hex digits",
        "score": "row 1: clip_l14_similarity_score is 'high', must be a number",
        "npz": "is not a whole .npz",
    }
    assert pending.keys() == reasons.keys()
    assert all(reason in pending[name] for name, reason in reasons.items())
