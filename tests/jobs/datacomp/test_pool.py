"""`winnow datacomp pool`: a folder is overwritten only as far as a manifest of its own names its files."""

import pytest

from jobs.datacomp.pool import Plan, make_pool
from pipeline.plan.session import Session
from pipeline.pool.listing.reasons import is_loss
from pipeline.recipe.load import parse
from tests.support.command import winnow
from tests.support.folders import contents


@pytest.fixture
def captions(tmp_path):
    path = tmp_path / "captions.txt"
    path.write_text("a red square\na dog\n")
    return path


def test_a_folder_of_somebody_else_is_refused(tmp_path, captions):
    """Its first file has the name of ours."""
    out = tmp_path / "pool"
    out.mkdir()
    (out / "00000000.parquet").write_bytes(b"mine")
    done = winnow("datacomp", "pool", out, "--captions", captions, "--rows", 20)
    assert done.returncode == 2
    assert f"OUT: {out} is not empty and was not written by Winnow (it has 00000000.parquet)" in done.stderr
    assert contents(out) == {"00000000.parquet": b"mine"}


def test_a_file_of_somebody_else_is_refused(tmp_path, captions):
    out = tmp_path / "pool"
    out.mkdir()
    (out / "mine.txt").write_bytes(b"mine")
    done = winnow("datacomp", "pool", out, "--captions", captions, "--rows", 20)
    assert done.returncode == 2
    assert contents(out) == {"mine.txt": b"mine"}


def test_another_pool_replaces_ours_and_leaves_files_of_others(tmp_path, captions):
    out = tmp_path / "pool"
    command = ("datacomp", "pool", out, "--captions", captions, "--per-file", 10)
    assert winnow(*command, "--rows", 50).returncode == 0
    (out / "notes.txt").write_bytes(b"mine")
    assert winnow(*command, "--rows", 15).returncode == 0
    assert sorted(contents(out)) == ["00000000.parquet", "00000001.parquet", "_winnow.json", "notes.txt"]
    (out / "00000002.parquet").write_bytes(b"mine")
    done = winnow(*command, "--rows", 30)
    assert done.returncode == 2
    assert "00000002.parquet was not written by Winnow" in done.stderr
    assert (out / "00000002.parquet").read_bytes() == b"mine"


def test_the_same_pool_is_left_alone_and_healed(tmp_path, captions, caplog):
    plan = Plan(tmp_path / "pool", 30, 10, ("b32",), 4)
    make_pool(plan, ["a", "b"])
    whole = contents(plan.folder)
    times = {path.name: path.stat().st_mtime_ns for path in plan.folder.iterdir()}
    make_pool(plan, ["a", "b"])
    assert {path.name: path.stat().st_mtime_ns for path in plan.folder.iterdir()} == times
    (plan.folder / "00000001.npz").write_bytes(b"torn")
    make_pool(plan, ["a", "b"])
    assert contents(plan.folder) == whole
    assert (plan.folder / "00000000.npz").stat().st_mtime_ns == times["00000000.npz"]
    assert "00000001.npz has 4 bytes" in caplog.text


def test_it_is_a_pool(tmp_path):
    """The manifest beside the files is not taken for a loss."""
    make_pool(Plan(tmp_path / "pool", 30, 10), ["a", "b"])
    recipe = parse({"pool": {"datacomp": str(tmp_path / "pool"), "store": str(tmp_path / "store")}})
    session = Session.open(recipe)
    assert [shard.name for shard in session.shards] == ["00000000", "00000001", "00000002"]
    assert not [reason for reason in session.passed_over.values() if is_loss(reason)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("--rows=10000000", "--per-file=1"),
            "error: --per-file 1 makes 10,000,000 files, at most 1,000,000",
        ),
        ((f"--rows={10**22}",), "'--rows': Input should be less than or equal to 100000000000"),
        ((f"--per-file={10**22}",), "'--per-file': Input should be less than or equal to 100000000"),
        ((f"--width={10**22}",), "'--width': Input should be less than or equal to 8192"),
    ],
)
def test_pools_that_nobody_makes(tmp_path, options, message):
    (tmp_path / "captions.txt").write_text("a caption\n")
    done = winnow("datacomp", "pool", tmp_path / "out", "--captions", tmp_path / "captions.txt", *options)
    assert done.returncode == 2
    assert message in " ".join(done.stderr.replace("│", " ").split())
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_shown(tmp_path):
    (tmp_path / "captions.txt").write_text("a caption\n")
    done = winnow("datacomp", "pool", f"{tmp_path}/a\x1bb", "--captions", tmp_path / "captions.txt")
    assert (done.returncode, "has control characters" in done.stderr) == (2, True)
