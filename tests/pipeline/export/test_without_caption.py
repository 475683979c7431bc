"""Samples whose chosen caption is null: they are exported without a txt, counted, and told of."""

import json

import pytest

from jobs.steps import print_paths
from pipeline.export.tars import TarsResult
from tests.pipeline.export.tar_exports import export
from tests.support.decided_pool import decided, read_tar, sample, uid, write_tar

WITHOUT = (1, 2, 7)


@pytest.fixture
def tars(tmp_path):
    """tars(caption) -> the result of an export of eight samples, of which WITHOUT have no url, in tars of
    three."""
    files = [sample(n, **({"url": None} if n in WITHOUT else {})) for n in range(8)]
    write_tar(tmp_path / "pool" / "00000.tar", [file for of_one in files for file in of_one])

    def made(caption: str) -> TarsResult:
        out = {"shards": str(tmp_path / "out"), "samples_per_shard": 3, "caption": caption}
        return export(decided(tmp_path, out))

    return made


def test_they_are_counted_whoever_wrote_their_tars(tars, tmp_path):
    """Tars of this run, of an earlier one, and one that was damaged since."""
    out = tmp_path / "out"
    found = tars("url")
    assert found == TarsResult(str(out), shards=3, samples=8, written=3, skipped=0, without_caption=3)
    names = {name for number in range(3) for name, _ in read_tar(out / f"{number:08d}.tar")}
    assert {n for n in range(8) if f"{uid(n)}.txt" not in names} == {*WITHOUT}
    assert {n for n in range(8) if f"{uid(n)}.source_txt" in names} == {*range(8)}
    assert json.loads((out / "_winnow.json").read_bytes())["without_caption"] == 3
    (out / "00000000.tar").write_bytes(b"cut")
    for skipped in (2, 3):
        assert tars("url") == TarsResult(str(out), 3, 8, 3 - skipped, skipped, without_caption=3)
    assert tars("text").without_caption == 0
    assert "without_caption" not in json.loads((out / "_winnow.json").read_bytes())


def test_the_last_line_tells_of_them(tars, tmp_path, capsys):
    print_paths({"shards": tars("url")})
    printed = capsys.readouterr()
    assert printed.out == f"{tmp_path / 'out'}\n"
    assert printed.err == (
        f"warning: 3 of 8 samples in {tmp_path / 'out'} have no caption, and loaders such as open_clip's skip a "
        "sample without a txt. To drop them, add a rule for a column that has no value without the caption, "
        "such as a score of it\n"
    )
    print_paths({"shards": tars("text")})
    assert capsys.readouterr().err == ""
