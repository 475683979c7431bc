"""Pools and recipes with strange names and missing parts, through the command line: one clear line each."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.command import winnow
from tests.support.decided_pool import sample, uid, write_tar
from tests.support.sizes import only_full

ROOT = Path(__file__).parents[2]
KEEP = "caption.words: {min: 1}"


@pytest.fixture
def recipe(tmp_path):
    """recipe(keep, ...) -> the path of a recipe over pool/, with three small tars, if there are none yet."""

    def write(
        keep: str = KEEP, compute: str = "caption: {use: caption.Caption}", file: str = "r.yaml", **keys: str
    ):
        if not (pool := tmp_path / "pool").exists():
            pool.mkdir()
            for number in range(3):
                members = [m for i in range(3) for m in sample(3 * number + i, caption="two words " * i)]
                write_tar(pool / f"{number}.tar", members)
        shards = keys.pop("shards", f"{pool}/*.tar")
        more = "".join(f"{key}: {value}\n" for key, value in keys.items())
        path = tmp_path / file
        path.write_text(
            f"pool: {{shards: {json.dumps(shards)}, store: {tmp_path}/store}}\n"
            f"compute:\n  {compute}\nkeep:\n  {keep}\n{more}"
        )
        return path

    return write


@pytest.mark.parametrize(
    "name", ["len", "index", "literal", "count", "shard", "uid", "English captions", "数", "a+b:c-d.e", "0"]
)
def test_rules_with_plain_names_are_decided_and_explained(name, recipe):
    path = recipe(f"{json.dumps(name)}: {{column: caption.words, min: 1}}")
    done = winnow("run", path, "--local")
    assert (done.returncode, done.stderr.count(f"{name} (caption.words)")) == (0, 1)
    rules = json.loads(winnow("keep", path, "--json", "--overlap").stdout)["rules"]
    assert (rules[name]["passes"], rules[name]["fails"]) == (6, 3)


@pytest.mark.parametrize(
    "bound", ["top: 0.5", "bottom: 0.5", "top: 2 samples", "top: 0.5, ties: uid", "min: 1"]
)
@pytest.mark.parametrize("command", ["run", "keep", "export"])
def test_a_pool_of_which_nothing_can_be_read(bound, command, recipe, tmp_path):
    path = recipe(f"caption.words: {{{bound}}}", shards=f"{tmp_path}/gone/{{00..01}}.tar")
    local = [] if command == "keep" else ["--local"]
    done = winnow(command, path, *local)
    assert "error: " in done.stderr
    assert "Traceback" not in done.stderr
    if command == "run":
        assert done.returncode == 1
        assert (
            f"01: FileNotFoundError: [Errno 2] No such file or directory: '{tmp_path}/gone/01.tar'"
            in done.stderr
        )


def test_a_pool_without_samples_is_decided(recipe, tmp_path):
    (tmp_path / "pool").mkdir()
    write_tar(tmp_path / "pool" / "0.tar", [])
    done = winnow("run", recipe("caption.words: {top: 0.5}"), "--local")
    assert (done.returncode, "read 0 = kept 0" in done.stderr) == (0, True)


HISTOGRAM = (
    "hist: {use: planted.Histogram, of: caption.words}\n"
    "  often: {use: planted.Frequency, of: caption.words, table: hist}"
)


@pytest.mark.parametrize("command", ["keep", "explain", "export"])
def test_stats_over_fewer_shards_are_named(command, recipe, planted):
    compute = f"caption: {{use: caption.Caption}}\n  {HISTOGRAM}"
    path = recipe("often.count: {min: 1}", compute, plugins=f"[{planted}]")
    uid = ["0" * 32] if command == "explain" else []
    before = winnow(command, path, *uid)
    assert "no shard has every column yet; run `winnow compute` first" in before.stderr
    assert winnow("run", path, "--local").returncode == 0
    done = winnow(command, path, *uid, "--shards", "2")
    assert done.returncode == 2
    assert done.stderr == (
        "error: nothing to decide on: hist, often: not computed over exactly 2 shards; Stats, and what reads "
        "them, depend on all shards that a command takes. Run `winnow compute` first, with the same --shards if "
        "there is one\n"
    )
    assert winnow("compute", path, "--local", "--shards", "2").returncode == 0
    assert winnow("keep", path, "--shards", "2").returncode == 0


def test_a_rule_is_switched_off(recipe):
    path = recipe("caption.words: {min: 100}")
    assert json.loads(winnow("run", path, "--local", "--json").stdout)["books"]["kept"] == 0
    assert json.loads(winnow("keep", path, "--json", "--set", "keep.caption.words=null").stdout)["kept"] == 9


@pytest.mark.parametrize("file", ["my recipe (1).yaml", "[b]x[b].yaml", "日本.yaml", "a\x1b[31mb.yaml"])
def test_any_file_name_of_a_recipe(file, recipe):
    done = winnow("run", recipe(file=file), "--local")
    assert (done.returncode, "\x1b" in done.stderr) == (0, False)


@pytest.mark.parametrize("file", [".DS_Store", "Thumbs.db", "desktop.ini", "._0.tar", ".directory"])
def test_what_a_desktop_leaves_in_an_export_is_no_obstacle(file, recipe, tmp_path):
    path = recipe(export=f"{{shards: {tmp_path}/out, urls: {tmp_path}/urls}}")
    for folder in ("out", "urls"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / file).write_bytes(b"mine")
    for words in ([], ["--set", "keep.caption.words.min=3"]):  # written, and replaced
        done = winnow("run", path, "--local", *words)
        assert (done.returncode, done.stderr.count("error:")) == (0, 0)
    assert (tmp_path / "out" / file).read_bytes() == b"mine"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_bytes(b"")
    done = winnow("run", path, "--local", "--set", f"export.shards={tmp_path}/other")
    assert "is not empty and was not written by Winnow (it has mine.txt)" in done.stderr


STRANGE = ("[red]a", "[/b]", "a\x1b[31mb", "a\rb", "\u202egpj", ":smile:", "a\x9bm")


def test_names_and_captions_of_strangers_are_shown_as_they_are(recipe, tmp_path):
    (tmp_path / "pool").mkdir()
    for name in STRANGE:
        members = sample(STRANGE.index(name), key=name.replace("/", "!"), caption=f"{name} {name}", url=name)
        write_tar(tmp_path / "pool" / f"{name.replace('/', '!')}.tar", members)
    path = recipe("caption.words: {min: 2}\n  caption.language: {among: [en]}")
    shown = [winnow("run", path, "--local"), winnow("keep", path, "--overlap")]
    shown += [winnow("compute", path, "--local"), winnow("effects", path, "--local"), winnow("plan", path)]
    shown += [winnow("store", "info", path), winnow("store", "verify", path)]
    shown += [winnow("explain", path, uid(number)) for number in range(len(STRANGE))]
    assert [done.returncode for done in shown] == [0] * len(shown)
    text = "".join(done.stdout + done.stderr for done in shown)
    assert "Traceback" not in text
    assert all(line.isprintable() for line in text.split("\n"))


def test_without_assertions_and_docstrings(recipe, tmp_path):
    path = recipe(KEEP, export=f"{{subset: {tmp_path}/s.npy, shards: {tmp_path}/out}}")
    done = subprocess.run(
        [sys.executable, "-m", "jobs", "run", str(path), "--local"],
        cwd=ROOT,
        env={**os.environ, "PYTHONOPTIMIZE": "2"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr
    assert done.returncode == 0


# --- JSON files of the store and of exports --------------------------------------------------------


def _wrong_types(value):
    """The same JSON with a text for each number, and a number for each text."""
    if isinstance(value, dict):
        return {key: _wrong_types(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_wrong_types(inner) for inner in value]
    return 7 if isinstance(value, str) else "\x1b[31m[/b]"


DAMAGE = {
    "empty": lambda data: b"",
    "cut": lambda data: data[: len(data) // 2],
    "bytes": lambda data: b"\xff\xfe\x00",
    "a list": lambda data: b"[]",
    "nothing known": lambda data: b"{}",
    "deep": lambda data: b"[" * 100_000,
    "a long number": lambda data: b'{"a": ' + b"9" * 100_000 + b"}",
    "wrong types": lambda data: json.dumps(_wrong_types(json.loads(data))).encode(),
    "a folder": lambda data: None,
}


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(name, marks=[] if name in ("cut", "wrong types", "a folder") else only_full)
        for name in DAMAGE
    ],
)
def test_damaged_json_of_a_store_is_healed_or_one_line(damage, recipe, tmp_path, planted):
    compute = f"caption: {{use: caption.Caption}}\n  {HISTOGRAM}"
    exports = f"{{shards: {tmp_path}/out, subset: {tmp_path}/s.npy}}"
    path = recipe("often.count: {min: 1}", compute, plugins=f"[{planted}]", export=exports)
    assert winnow("run", path, "--local").returncode == 0
    assert winnow("compact", path).returncode == 0
    kept = winnow("keep", path, "--json").stdout
    shutil.copytree(tmp_path / "store", tmp_path / "whole")
    files = sorted(file for file in tmp_path.rglob("*.json") if "whole" not in file.parts)
    assert len(files) >= 8
    for file in files:
        damaged = DAMAGE[damage](before := file.read_bytes())
        file.unlink()
        file.mkdir() if damaged is None else file.write_bytes(damaged)
        for words in (["keep", path, "--json"], ["run", path, "--local"]):
            done = winnow(*words)
            assert all(line.isprintable() for line in done.stderr.split("\n"))
            assert done.returncode == 0 or "error: " in done.stderr
            if words[0] == "keep" and done.returncode == 0:
                assert done.stdout == kept
        if damaged is None and file.is_dir():
            assert "run the same command again to go on" not in done.stderr
            file.rmdir()
        if tmp_path / "store" in file.parents:
            shutil.rmtree(tmp_path / "store")
            shutil.copytree(tmp_path / "whole", tmp_path / "store")
        else:
            file.write_bytes(before)


@pytest.mark.parametrize(
    "words", [("report", "r.yaml", "--out", "o.html"), ("gallery", "r.yaml", "--where", "kept", "--out", "o.html"),
              ("compare", "r.yaml", "--set", "keep={}"), ("datacomp", "pool", "out", "--captions", "c.txt"),
              ("datacomp", "centroids", "r.yaml", "c.npy"), ("demo", "out")],
)  # fmt: skip
@pytest.mark.parametrize("seed", [-1, 2**31, 10**30])
def test_a_seed_that_no_library_takes(words, seed, tmp_path):
    done = winnow(*words, f"--seed={seed}")
    assert done.returncode == 2
    assert f"'--seed': Input should be {'greater' if seed < 0 else 'less'} than or equal to" in done.stderr
