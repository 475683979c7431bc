"""`winnow ingest` over a web of all kinds: every URL is in the books once, whatever happens."""

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import time
from collections import Counter
from pathlib import Path

import polars as pl
import psutil
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from jobs.app import app
from pipeline.pool.shards import list_shards
from pipeline.uids import text_url_uid
from tests.jobs.ingest.made_lists import HERE
from tests.support.command import winnow
from tests.support.ingest_runs import LOOPBACK, ROOT, accounted, done, in_tars, ingest, killed, write_list
from tests.support.warm import Warm
from tests.support.web_server import KINDS, photo, web

EACH = 3  # URLs of a kind


ODD = {
    "": "no URL",
    "not a url": "no URL",
    "file:///photo.jpg": "no URL",
    "ftp://127.0.0.1/x": "no URL",
    "http://127.0.0.1:1/x": "no connection",
    "http://nowhere.invalid/x": "host not found",
    "http://10.0.0.1/x": "address not public",
    "http://[::1]/x": "address not public",
}


class World:
    """All kinds of URLs, in a TSV, ingested in shards of 20."""

    def __init__(self, folder: Path, warm: Warm) -> None:
        self.folder, self.out, self.list = folder, folder / "out", folder / "list.tsv"
        with web() as (base, self.hits):
            rows = [
                (f"a {kind} {i}", f"{base}/{kind}/{i}", why)
                for kind, why in KINDS.items()
                for i in range(EACH)
            ]
            rows += [(f"odd {i}", url, why) for i, (url, why) in enumerate(ODD.items())]
            self.listed = {caption: why for caption, _, why in rows}
            self.uids = {caption: text_url_uid(caption, url) for caption, url, _ in rows}
            write_list(self.list, [row[:2] for row in rows])
            self.words = (self.list, self.out, "--rows", 20, *HERE)
            patience = ("--timeout", 2, "--retries", 0, "--threads", 16)
            self.books = ingest(*self.words, *patience, *LOOPBACK, warm=warm)


@pytest.fixture(scope="module")
def warm():
    """A process that has imported torch, as img2dataset does."""
    with Warm(torch=True) as warm:
        yield warm


@pytest.fixture(scope="module")
def world(tmp_path_factory, warm) -> World:
    return World(tmp_path_factory.mktemp("ingest"), warm)


def test_every_url_is_in_the_books_once_by_reason(world):
    accounted(world.out, world.listed)
    why = Counter(why for why in world.listed.values() if why is not None)
    books = world.books
    assert books["lost"] == dict(why)
    assert books["listed"] == len(world.listed) == books["downloaded"] + why.total()
    assert (books["shards"], books["pending"], books["damaged"]) == (4, {}, {})
    endings = (".parquet", ".tar", "_stats.json")
    names = [f"{number:08d}{ending}" for number in range(4) for ending in endings]
    assert sorted(path.name for path in world.out.iterdir()) == names


def test_pictures_are_scaled_down_if_larger_and_else_left_alone(world):
    sizes = Counter()
    for path in world.out.glob("*.tar"):
        with tarfile.open(path) as tar:
            members = {member.name: tar.extractfile(member).read() for member in tar}
        for name in (name for name in members if name.endswith(".jpg")):
            found = json.loads(members[name.replace(".jpg", ".json")])
            with Image.open(io.BytesIO(members[name])) as image:
                assert (image.format, image.size) == ("JPEG", (found["width"], found["height"]))
                sizes[image.size] += 1
            assert members[name.replace(".jpg", ".txt")].decode() == found["caption"]
            if not found["caption"].startswith("a big"):
                assert members[name] == photo(int(found["caption"].split()[-1]))
    assert sizes == {(48, 32): 4 * EACH, (512, 384): EACH}


def test_what_was_refused_is_tried_again_when_its_network_is_allowed(tmp_path, warm):
    with web() as (base, hits):
        write_list(tmp_path / "list.tsv", [(f"a photo {i}", f"{base}/photo/{i}") for i in range(EACH)])
        words = (tmp_path / "list.tsv", tmp_path / "out", *HERE)
        books = ingest(*words, status=1, warm=warm)
        assert books["lost"] == {"address not public": EACH}
        assert not hits
        assert ingest(*words, "--allow-private", warm=warm)["downloaded"] == EACH
        assert ingest(*words, warm=warm)["downloaded"] == EACH  # fewer networks: what is there stays
        assert hits.total() == EACH


def test_refused_addresses_lead_to_the_option_that_allows_them(tmp_path, warm):
    write_list(tmp_path / "list.tsv", [("a photo", "http://10.0.0.1/1.jpg")])
    words = (tmp_path / "list.tsv", tmp_path / "out", *HERE)
    ran = warm.winnow("ingest", *words)  # not in this process: the guard would stay in it
    assert ran.returncode == 1
    assert "--allow NETWORK" in ran.stderr
    assert "Nothing was downloaded" in ran.stderr


LISTS = {
    "list.csv": ("image_url,text\nhttp://127.0.0.1:9/1.jpg,hello\n", "there are: image_url, text"),
    "list.tsv": ("link\tcaption\nhttp://127.0.0.1:9/1.jpg\thello\n", "there are: link, caption"),
    "list.jsonl": ('{"link": "http://127.0.0.1:9/1.jpg", "text": "hello"}\n', "there are: link, text"),
}


@pytest.mark.parametrize("name", LISTS)
def test_a_list_whose_urls_are_in_another_column(tmp_path, name, warm):
    content, expected = LISTS[name]
    (tmp_path / name).write_text(content)
    words = (tmp_path / name, tmp_path / "out", *HERE, "--allow-private", "--retries", 0)
    assert expected in ingest(*words, status=2, warm=warm)["said"]
    assert not list(tmp_path.glob("out/*"))
    column = "image_url" if "csv" in name else "link"
    books = ingest(*words, "--column", f"url={column}", status=1, warm=warm)
    assert books["lost"] == {"no connection": 1}


def test_uids_are_those_of_the_list(world):
    for sample in in_tars(world.out):
        assert sample["uid"] == world.uids[sample["caption"]]


def test_again_downloads_nothing_and_gives_the_same_books(world, warm):
    before, hits = {path: path.stat().st_mtime_ns for path in world.out.iterdir()}, world.hits.total()
    again = ingest(*world.words, warm=warm)
    assert {**again, "said": ""} == {**world.books, "said": ""}
    assert {path: path.stat().st_mtime_ns for path in world.out.iterdir()} == before
    assert world.hits.total() == hits


@pytest.mark.parametrize("change", [("--size", 256), ("--rows", 21)])
def test_other_settings_need_another_folder(world, change, warm):
    said = ingest(*world.words, *change, status=2, warm=warm)["said"]
    assert "error: OUT: 00000000 in" in said
    assert "name another folder" in said


def test_another_list_needs_another_folder(world, tmp_path, warm):
    lines = world.list.read_text().splitlines()
    (tmp_path / "list.tsv").write_text("\n".join([*lines[:30], "else\thttp://x/", *lines[31:]]))
    said = ingest(tmp_path / "list.tsv", *world.words[1:], status=2, warm=warm)["said"]
    assert "error: OUT: 00000001 in" in said


def test_a_pool_of_these_shards_has_the_losses_in_its_books(world, tmp_path):
    recipe = {
        "pool": {"shards": f"{world.out}/*.tar", "store": f"{tmp_path}/store"},
        "compute": {"caption": {"use": "caption.Caption"}},
        "keep": {"caption.words": {"min": 3}},
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    for _ in range(2):  # the second time from what is stored
        ran = CliRunner().invoke(app, ["run", str(tmp_path / "recipe.yaml"), "--local", "--json"])
        assert ran.exit_code == 0, ran.output
        books = json.loads(ran.stdout)["books"]
        assert books["lost"] == world.books["lost"]
        assert books["samples"] == world.books["downloaded"] == 5 * EACH
        assert books["listed"] == len(world.listed)
    shown = CliRunner().invoke(app, ["run", str(tmp_path / "recipe.yaml"), "--local"])
    assert "not downloaded: HTTP 404" in shown.stderr
    total = f"listed {len(world.listed)} = read {5 * EACH} + not downloaded {len(world.listed) - 5 * EACH}"
    assert total in shown.stderr


def test_killed_twice_every_url_is_in_the_books_once(tmp_path, warm):
    kinds = ["photo", "missing", "photo", "page", "photo", "photo", "broken", "photo", "photo", "hangup"]
    with web(delay=0.05) as (base, hits):
        rows = [(f"a {kind} {i}", f"{base}/{kind}/{i}", KINDS[kind]) for i, kind in enumerate(kinds * 12)]
        write_list(tmp_path / "list.tsv", [row[:2] for row in rows])
        out = tmp_path / "out"
        words = (tmp_path / "list.tsv", out, "--rows", 10, "--threads", 2, "--retries", 0, *HERE, *LOOPBACK)
        first = killed(out, 2, *words)
        second = killed(out, first + 3, *words)
        assert 2 <= first < second < 12
        books = ingest(*words, warm=warm)
    accounted(out, {caption: why for caption, _, why in rows})
    assert (books["listed"], books["downloaded"], books["shards"]) == (120, 72, 12)
    assert books["lost"] == dict.fromkeys(("HTTP 404", "HTTP 500", "connection broken", "no image"), 12)
    assert hits.total() < 120 + 2 * 10 + 2  # what was published was not asked for again
    assert sorted(path.name for path in out.iterdir() if path.name.startswith(".")) == []


FAMILY = """
import os, sys, time
from jobs.processes import in_order

def pid(_):
    os.write(1, b"%d\\n" % os.getpid())  # in one piece: another process writes beside it
    time.sleep(600)

if __name__ == "__main__":
    list(in_order(2)(pid, range(4)))
"""


def test_processes_end_with_their_parent(tmp_path):
    (tmp_path / "family.py").write_text(FAMILY)
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = subprocess.Popen(
        [sys.executable, tmp_path / "family.py"], stdout=subprocess.PIPE, text=True, env=env
    )
    family = [psutil.Process(int(run.stdout.readline())) for _ in range(2)]
    run.kill()
    run.wait()
    deadline = time.monotonic() + 30
    while any(process.is_running() for process in family) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [process for process in family if process.is_running()] == []


# --- balance first, download after


def test_from_a_recipe_of_captions_to_a_pool(tmp_path, warm):
    recipe = yaml.safe_load((ROOT / "jobs" / "recipes" / "metaclip.yaml").read_text())
    recipe["pool"] = {"shards": f"{tmp_path}/captions.tsv", "store": f"{tmp_path}/store"}
    recipe["compute"]["entries"]["metadata"] = f"{tmp_path}/metadata.json"
    recipe["keep"] = {"balance.t": {"max": 3}, "wfpp.score": {"top": 0.9, "ties": "uid"}}
    recipe["export"] = {"urls": f"{tmp_path}/urls"}
    (tmp_path / "balance.yaml").write_text(yaml.safe_dump(recipe))
    (tmp_path / "metadata.json").write_text(json.dumps(["dog", "cat", "red car"]))
    with web() as (base, _):
        words = ["a dog", "a dog on a lawn", "a cat", "the red car", "a dog and a cat"] * 12
        kinds = [("missing" if i % 4 == 3 else "photo") for i in range(60)]
        pairs = list(zip(words, kinds, strict=True))
        rows = [
            (f"{w} {i}\t{hashlib.md5(bytes([i])).hexdigest()}", f"{base}/{k}/{i}")
            for i, (w, k) in enumerate(pairs)
        ]
        # uids of their own: made from the urls, whose port is drawn, they would decide ties by chance
        lines = ["caption\tuid\turl", *("\t".join(row) for row in rows)]
        (tmp_path / "captions.tsv").write_text("\n".join(lines) + "\n")
        exported = run("run", tmp_path / "balance.yaml")["written"]["urls"]
        books = ingest(tmp_path / "urls", tmp_path / "shards", *HERE, *LOOPBACK, warm=warm)
    assert 0 < books["downloaded"] < books["listed"] == exported["rows"] < 60
    then = {
        "pool": {"shards": f"{tmp_path}/shards", "store": f"{tmp_path}/store2"},
        "compute": {"caption": {"use": "caption.Caption"}},
        "keep": {"caption.side": {"min": 32}},
    }
    (tmp_path / "then.yaml").write_text(yaml.safe_dump(then))
    after = run("run", tmp_path / "then.yaml")["books"]
    assert (after["samples"], after["kept"]) == (books["downloaded"], books["downloaded"])
    assert after["lost"] == books["lost"] == {"HTTP 404": books["listed"] - books["downloaded"]}
    uids = pl.read_parquet(tmp_path / "urls" / "*.parquet")["uid"]
    assert set(pl.read_parquet(tmp_path / "store2" / "samples" / "*.parquet")["uid"]) <= set(uids)
    assert [shard.name for shard in list_shards(f"{tmp_path}/shards").shards] == ["00000000"]


def run(*words: object) -> dict:
    done = CliRunner().invoke(app, [*map(str, words), "--local", "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.mark.usefixtures("local_ray")
def test_ray_downloads_the_same(tmp_path):
    with web() as (base, _):
        rows = [(f"a {kind} {i}", f"{base}/{kind}/{i}") for i in range(4) for kind in ("photo", "missing")]
        write_list(tmp_path / "list.tsv", rows)
        ran = winnow("ingest", tmp_path / "list.tsv", tmp_path / "out", "--rows", 4, *LOOPBACK, "--json")
    books = json.loads(ran.stdout)
    accounted(tmp_path / "out", {caption: KINDS[caption.split()[1]] for caption, _ in rows})
    assert (books["shards"], books["downloaded"], done(tmp_path / "out")) == (2, 4, 2)
