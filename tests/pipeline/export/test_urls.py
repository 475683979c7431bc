"""The list of kept URLs: its files, and what img2dataset makes of it."""

import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

from jobs.app import app
from pipeline.decide.decide import decide
from pipeline.errors import RecipeError
from pipeline.export import urls
from pipeline.export.places.contents import content_of
from pipeline.export.urls import UrlsResult, write_urls
from pipeline.plan.session import Session
from pipeline.pool.shards import Shard, list_shards
from pipeline.pool.table_reader import read_table
from pipeline.pool.tar_reader import read_samples
from pipeline.recipe.load import parse
from pipeline.run.compute import compute
from pipeline.run.executor import LocalExecutor
from tests.pipeline.pool.made_samples import rows_of
from tests.support.decided_pool import decided, ordinary, recipe, uid
from tests.support.folders import contents
from tests.support.samples import picture


@pytest.fixture
def listed(tmp_path) -> Session:
    """Two tables of ten captions; those of the even rows are long enough, that of row 4 has no url."""
    (tmp_path / "pool").mkdir()
    for name in "ab":
        rows = [(f"{name}{i}", f"http://{name}/{i}") for i in range(10)]
        frame = pl.DataFrame(
            {
                "text": [text if i % 2 else f"caption {text}" for i, (text, _) in enumerate(rows)],
                "url": [
                    None if i == 4 else "" if name == "a" and i == 6 else u for i, (_, u) in enumerate(rows)
                ],
                "uid": [uid(text) for text, _ in rows],
            }
        )
        frame.write_parquet(tmp_path / "pool" / f"{name}.parquet")
    return ready(tmp_path)


def ready(tmp_path: Path, **more) -> Session:
    """Decided on: captions of three characters and more are kept."""
    made = parse(
        {
            "name": "test",
            "pool": {"shards": str(tmp_path / "pool"), "store": str(tmp_path / "store")},
            "compute": {"caption": {"use": "caption.Caption"}},
            "keep": {"caption.characters": {"min": 3}},
            "export": {"urls": str(tmp_path / "out")},
            **more,
        }
    )
    session = Session.open(made)
    session = compute(session, LocalExecutor()).session
    decide(session)
    return session


EXPECTED = [("a", 0), ("a", 2), ("a", 8), ("b", 0), ("b", 2), ("b", 6), ("b", 8)]
ROWS = [(f"http://{n}/{i}", f"caption {n}{i}", uid(f"{n}{i}")) for n, i in EXPECTED]


def rows(path: Path) -> list[tuple[str, str, str]]:
    return list(pl.read_parquet(path).select("url", "text", "uid").iter_rows())


def test_the_list(listed, tmp_path):
    assert write_urls(listed) == UrlsResult(str(tmp_path / "out"), files=1, rows=7, without_url=3)
    assert sorted(contents(tmp_path / "out")) == ["00000000.parquet", "_winnow.json"]
    assert pl.read_parquet(tmp_path / "out" / "00000000.parquet").columns == ["url", "text", "uid"]
    assert rows(tmp_path / "out" / "00000000.parquet") == ROWS
    manifest = json.loads((tmp_path / "out" / "_winnow.json").read_text())
    assert manifest.pop("decision").startswith("decisions/test-")
    assert list(manifest.pop("inputs")) == ["samples"]
    assert len(manifest.pop("verdicts")) == 32
    data = (tmp_path / "out" / "00000000.parquet").read_bytes()
    assert manifest.pop("contents") == {"00000000.parquet": content_of(data)}
    assert len(manifest.pop("seal")) == 32
    assert manifest == {"export": "urls", "complete": True, "files": 1, "rows": 7, "without_url": 3}


def test_files_and_row_groups_are_full_whatever_the_shards(listed, tmp_path, monkeypatch):
    monkeypatch.setattr(urls, "GROUP", 2)
    monkeypatch.setattr(urls, "ROWS_PER_FILE", 4)
    assert write_urls(listed).files == 2
    paths = sorted((tmp_path / "out").glob("*.parquet"))
    assert [path.name for path in paths] == ["00000000.parquet", "00000001.parquet"]
    assert [row for path in paths for row in rows(path)] == ROWS
    groups = [pq.ParquetFile(path).metadata for path in paths]
    assert [[m.row_group(i).num_rows for i in range(m.num_row_groups)] for m in groups] == [[2, 2], [2, 1]]


def test_again_gives_the_same_bytes_and_another_decision_leaves_no_old_file(listed, tmp_path, monkeypatch):
    monkeypatch.setattr(urls, "GROUP", 2)
    monkeypatch.setattr(urls, "ROWS_PER_FILE", 4)
    write_urls(listed)
    before = contents(tmp_path / "out")
    (tmp_path / "out" / "00000001.parquet").unlink()  # as if killed
    write_urls(listed)
    assert contents(tmp_path / "out") == before
    fewer = ready(tmp_path, keep={"caption.characters": {"min": 3}, "caption.words": {"min": 3}})
    assert write_urls(fewer) == UrlsResult(str(tmp_path / "out"), 0, 0, 0)
    assert sorted(contents(tmp_path / "out")) == ["_winnow.json"]


def test_what_is_half_written_says_so(listed, tmp_path, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(urls, "_write", killed)
    with pytest.raises(KeyboardInterrupt):
        write_urls(listed)
    assert json.loads((tmp_path / "out" / "_winnow.json").read_text())["complete"] is False


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ("notes.txt", r"not written by Winnow \(it has notes\.txt\)"),
        ("_winnow.json", "that of something else"),
    ],
)
def test_a_folder_of_something_else_is_left_alone(listed, tmp_path, other, words):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / other).write_text('{"shards": 5}')
    with pytest.raises(RecipeError, match=rf"^export\.urls: .*{words}"):
        write_urls(listed)
    assert contents(tmp_path / "out") == {other: b'{"shards": 5}'}


def test_nothing_named_and_nothing_decided(listed, tmp_path):
    with pytest.raises(RecipeError, match=r"export\.urls is missing"):
        write_urls(ready(tmp_path, export={}))
    undecided = parse({**listed.recipe.model_dump(exclude={"compute", "keep"}), "keep": {}})
    with pytest.raises(RecipeError, match="run `winnow keep` first"):
        write_urls(Session.open(undecided))


def test_a_pool_of_tars_has_a_list_too(tmp_path):
    ordinary(tmp_path / "pool")
    session = decided(tmp_path, {"urls": str(tmp_path / "out")})
    assert write_urls(session).rows == 8  # of twelve, every third caption is too short
    found = rows(tmp_path / "out" / "00000000.parquet")
    numbers = [0, 1, 3, 4, 6, 7, 9, 10]
    assert found == [(f"https://example.org/{n}", f"caption number {n}", uid(n)) for n in numbers]
    assert recipe(tmp_path, {"urls": "x"}).export.urls == "x"


@pytest.mark.filterwarnings("ignore")  # img2dataset's own
def test_img2dataset_s_reader_yields_the_rows(listed, tmp_path, monkeypatch, capsys):
    from img2dataset.reader import Reader

    monkeypatch.setattr(urls, "GROUP", 2)
    monkeypatch.setattr(urls, "ROWS_PER_FILE", 4)
    write_urls(listed)
    (tmp_path / "tmp").mkdir()
    reader = Reader(
        str(tmp_path / "out"), "parquet", "url", "text", None, None, ["uid"], 3, set(), str(tmp_path / "tmp")
    )
    tables = []
    for _, feather in reader:
        with pa.OSFile(feather) as file:
            tables.append(pa.ipc.open_file(file).read_all())
    assert [len(table) for table in tables] == [3, 1, 3]
    found = [(r["url"], r["caption"], r["uid"]) for table in tables for r in table.to_pylist()]
    assert found == ROWS


# --- balance first, download after


class Quiet(SimpleHTTPRequestHandler):
    """A file server that does not log."""

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(tmp_path) -> Iterator[str]:
    """Serves tmp_path/www on this machine; gives its URL."""
    (tmp_path / "www").mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "www")))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


DOWNLOAD = """
import sys
from img2dataset import download
download(url_list=sys.argv[1], output_folder=sys.argv[2], input_format="parquet", url_col="url",
         caption_col="text", save_additional_columns=["uid"], output_format="webdataset",
         resize_mode="no", processes_count=1, thread_count=4, image_size=64)
"""


CAPTIONS = ["a red square", "no", "a cat that is gone", "a dog on a lawn"]


@pytest.fixture
def web(tmp_path, server) -> list[str]:
    """A recipe over a TSV of four captions and URLs without a header line, the third picture missing;
    returns the uids that they have by DataComp's rule."""
    for number in (0, 1, 3):
        (tmp_path / "www" / f"{number}.png").write_bytes(picture(number))
    lines = [f"{text}\t{server}/{number}.png\n" for number, text in enumerate(CAPTIONS)]
    (tmp_path / "pool.tsv").write_text("".join(lines))
    columns = {"text": 0, "url": 1}
    made = {
        "pool": {"shards": f"{tmp_path}/pool.tsv", "store": f"{tmp_path}/store", "columns": columns},
        "compute": {"caption": {"use": "caption.Caption"}},
        "keep": {"caption.words": {"min": 3}},
        "export": {"urls": str(tmp_path / "out")},
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(made))
    return [hashlib.md5(line.strip().replace("\t", "").encode()).hexdigest() for line in lines]


def winnow(tmp_path: Path, *words: str) -> Any:
    """What the command prints as JSON."""
    done = CliRunner().invoke(app, [words[0], str(tmp_path / "recipe.yaml"), *words[1:], "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_the_commands_work_on_a_list(tmp_path, web):
    assert winnow(tmp_path, "plan")["passes"][0]["reads"] == "tables, 0 MB"
    winnow(tmp_path, "compute", "--local")
    assert winnow(tmp_path, "keep")["kept"] == 3
    (entry,) = winnow(tmp_path, "explain", web[1])
    assert (entry["text"], entry["keep"], entry["rules"][0]["value"]) == ("no", False, 1)
    written = winnow(tmp_path, "export", "--local")["urls"]
    assert written == {"path": str(tmp_path / "out"), "files": 1, "rows": 3, "without_url": 0}


def test_uids_survive_the_download(tmp_path, web):
    winnow(tmp_path, "run", "--local")
    command = [sys.executable, "-c", DOWNLOAD, str(tmp_path / "out"), str(tmp_path / "shards")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    (shard,) = list_shards(str(tmp_path / "shards")).shards
    found = sorted((row["text"], row["uid"], row["width"]) for row in rows_of(read_samples(shard)))
    assert found == [(CAPTIONS[3], web[3], 24), (CAPTIONS[0], web[0], 24)]
    (frame,) = read_table(Shard("0", str(tmp_path / "shards" / "00000.parquet")), {}, 100)
    assert frame.sort("key").select("uid", "error").rows() == [
        (web[0], None),
        (web[2], "download failed: HTTP Error 404: File not found"),
        (web[3], None),
    ]
