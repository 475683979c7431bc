"""One shard in this process, the words of the command, and what the sidecars say."""

import polars as pl
import pytest
from typer.testing import CliRunner

from jobs.app import app
from jobs.ingest import download
from jobs.ingest.download import Chunk, Settings, fetch
from jobs.ingest.steps import columns_of
from pipeline.errors import RecipeError
from pipeline.pool.img2dataset import GARBLED, lost_beside, reason, reasons
from tests.jobs.ingest.made_lists import HERE
from tests.support.ingest_runs import write_list

# --- one shard, in this process


def chunk(*urls: str) -> Chunk:
    columns = {
        "uid": [f"{i:032x}" for i in range(len(urls))],
        "caption": ["x"] * len(urls),
        "url": list(urls),
    }
    return Chunk(3, pl.DataFrame(columns))


@pytest.fixture
def quietly(monkeypatch):
    """What a worker changes in its process is undone."""
    monkeypatch.setattr(download, "install", lambda guard: None)
    for name, value in download.ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


def test_rows_that_could_not_be_written_are_not_forgotten(tmp_path, monkeypatch, quietly):
    from img2dataset.writer import WebDatasetSampleWriter

    write = WebDatasetSampleWriter.write

    def full(self, image, key, *rest):
        if key.endswith("1"):
            raise OSError(28, "No space left on device")
        write(self, image, key, *rest)

    monkeypatch.setattr(WebDatasetSampleWriter, "write", full)
    fetched = fetch(Settings(str(tmp_path / "out"), retries=0), chunk("x:1", "x:2", "x:3"))
    assert (fetched.name, fetched.stats) == ("00000003", {})
    assert fetched.error == "ShardError: 2 of 3 rows were written: is the disk full?"
    assert list((tmp_path / "out").iterdir()) == []


def test_a_folder_that_cannot_be_written_leaves_the_shard_pending(tmp_path, quietly):
    (tmp_path / "out").write_text("a file")
    fetched = fetch(Settings(str(tmp_path / "out")), chunk("x:1"))
    assert "out is a file or a broken link, and a folder belongs there" in fetched.error


# --- the words of the command


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["none.parquet"], "URLS: no such file: "),
        (["pool.tar"], "URLS must be tables of captions and URLs, got"),
        (
            ["list.tsv", "--allow", "10.0.0.1/8"],
            "--allow must be a network such as 10.0.0.0/8: 10.0.0.1/8 has",
        ),
        (
            ["list.tsv", "--column", "key=a"],
            "--column must be FIELD=COLUMN, FIELD one of text, url, uid, got 'key=a'",
        ),
        (["list.tsv", "--column", "text=words"], "no column words (--column text); there are: caption, url"),
        (["list.tsv", "--column", "text=0", "--column", "url=b"], "--column must be all names, or all"),
    ],
)
def test_mistakes_are_named(tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    write_list(tmp_path / "list.tsv", [("a", "b")])
    with pytest.raises(RecipeError) as raised:
        CliRunner().invoke(
            app, ["ingest", words[0], "out", *words[1:], *map(str, HERE)], catch_exceptions=False
        )
    assert message in str(raised.value)


def test_on_a_cluster_a_relative_folder_is_a_mistake(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(RecipeError, match="OUT must be an absolute path"):
        CliRunner().invoke(app, ["ingest", "list.tsv", "out"], catch_exceptions=False)


def test_columns_by_name_and_by_position():
    assert columns_of(["text=TITLE", "url=LINK"]) == {"text": "TITLE", "url": "LINK"}
    assert columns_of(["text=1", "url=0"]) == {"text": 1, "url": 0}


# --- what the sidecars say


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("HTTP Error 503: Service Unavailable", "HTTP 503"),
        ("timed out", "timed out"),
        ("<urlopen error [Errno 110] Connection timed out>", "timed out"),
        ("The read operation timed out", "timed out"),
        ("<urlopen error [Errno -2] Name or service not known>", "host not found"),
        ("<urlopen error [Errno -3] Temporary failure in name resolution>", "host not found"),
        ("<urlopen error [Errno 111] Connection refused>", "no connection"),
        ("<urlopen error [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed", "TLS"),
        ("[Errno 104] Connection reset by peer", "connection broken"),
        ("Remote end closed connection without response", "connection broken"),
        ("IncompleteRead(300 bytes read, 4700 more expected)", "connection broken"),
        ("URL can't contain control characters. '/a b' (found at least ' ')", "no URL"),
        ("'ascii' codec can't encode character '\\xfc' in position 5", "no URL"),
        ("Image decoding error", "no image"),
        ("image too small", "image too small"),
        ("hash mismatch", "hash mismatch"),
        ("", "other"),
        ("division by zero", "other"),
    ],
)
def test_reasons_are_few(message, expected):
    assert reason(message) == expected


def test_what_the_counter_has_forgotten_is_other():
    status = {
        "success": 5,
        "HTTP Error 404: Not Found": 2,
        "HTTP Error 404: Gone fishing": 1,
        "timed out": "x",
    }
    assert reasons({"count": 10, "successes": 5, "status_dict": status}) == {"HTTP 404": 3, "other": 2}
    assert reasons({"count": "10", "status_dict": [1]}) == {}


@pytest.mark.parametrize("content", [None, b"", b"[1]", b"{", b'{"count": 3}'])
def test_a_stats_file_of_strangers_does_no_harm(tmp_path, content):
    if content is not None:
        (tmp_path / "0_stats.json").write_bytes(content)
    expected = {None: {}, b'{"count": 3}': {"other": 3}}.get(content, {GARBLED: 0})
    assert lost_beside(str(tmp_path / "0")) == expected
