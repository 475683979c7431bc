"""With --json, stdout is one JSON document, and stderr shows progress and errors as without it."""

import json
import re
import shutil

import pytest
import yaml

from jobs.terminal import progress
from tests.support.command import winnow
from tests.support.decided_pool import ordinary
from tests.support.indexed_pool import recipe_of

LINE = re.compile(
    r"(?P<what>[\w ,.]+): \d+(/\d+)?( \w+)?(,|$)"
)  # `caption, clip: 1/2 shards, 12 samples ...`
FRESH = {"run": ("--local",), "compute": ("--local",), "plan": ("--measure", 1)}  # commands that compute
DONE = {  # commands on what is computed
    "keep": ("--subset", "kept.npy"),
    "explain": ("000000000",),
    "effects": ("--local", "--set", "keep.clip.score.top=0.6"),
    "export": ("--local", "--set", "export.shards=elsewhere"),
    "report": ("--out", "r.html"),
    "columns": (),
    "compare": ("--set", "keep.clip.score.top=0.2"),
    "compact": (),
    "store verify": ("--deep",),
}


@pytest.fixture
def place(tmp_path, tiny_clip, monkeypatch):
    """The current folder: a pool and its recipe. Every step of a loop is told."""
    ordinary(tmp_path / "pool")
    recipe = recipe_of(tmp_path, tiny_clip.config, tiny_clip.weights)
    (tmp_path / "r.yaml").write_text(yaml.safe_dump({**recipe, "keep": {"clip.score": {"top": 0.5}}}))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(progress, "EVERY", -1.0)
    return tmp_path


def told(stderr: str) -> set[str]:
    """What was shown to go on."""
    return {found["what"] for line in stderr.splitlines() if (found := LINE.match(line))}


@pytest.mark.parametrize("command", FRESH)
def test_commands_that_compute(command, place):
    plain = winnow(command, "r.yaml", *FRESH[command])
    for made in ("store", "index"):
        shutil.rmtree(place / made, ignore_errors=True)
    done = winnow(command, "r.yaml", *FRESH[command], "--json")
    assert (plain.returncode, done.returncode) == (0, 0), done.stderr
    assert isinstance(json.loads(done.stdout), dict)
    assert "clip" in " ".join(told(done.stderr))
    assert told(done.stderr) == told(plain.stderr)


def test_commands_on_what_is_computed(place):
    assert winnow("run", "r.yaml", "--local").returncode == 0
    for command, flags in DONE.items():
        done = winnow(*command.split(), "r.yaml", *flags, "--json")
        assert done.returncode == 0, (command, done.stderr)
        json.loads(done.stdout)
        assert told(done.stderr), command


def test_an_error_goes_to_stderr(place):
    done = winnow("run", "r.yaml", "--set", "keep.clip.score.top=30", "--json")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: keep.clip.score.top must be in (0, 1]")


def test_what_a_plugin_prints_goes_to_stderr(place):
    (place / "talks.py").write_text(
        "import polars as pl\nfrom pipeline.operator import Score\nprint('imported')\n\n\n"
        "class Talks(Score):\n"
        "    writes = {'words': pl.Int64}\n"
        "    def inputs(self):\n        return ['text']\n"
        "    def score(self, batch):\n"
        "        print('scored')\n"
        "        return batch.select(words=pl.col('text').str.len_bytes().cast(pl.Int64))\n"
    )
    recipe = yaml.safe_load((place / "r.yaml").read_text())
    del recipe["export"]
    recipe |= {"plugins": ["talks.py"], "compute": {"talks": {"use": "talks.Talks"}}}
    recipe["keep"] = {"talks.words": {"min": 1}}
    (place / "talks.yaml").write_text(yaml.safe_dump(recipe))
    done = winnow("run", "talks.yaml", "--local", "--json")
    assert isinstance(json.loads(done.stdout), dict)
    assert {"imported", "scored"} <= set(done.stderr.splitlines())
