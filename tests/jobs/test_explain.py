"""`winnow explain` as a user types it: what is shown, what is not found, what comes of the exit status."""

import json

import pytest

from tests.support.command import winnow
from tests.support.decided_pool import sample, uid, write_tar


@pytest.fixture
def recipe(tmp_path):
    """Three samples: one without a caption, and a chance rule."""
    bare = [(name, data) for name, data in sample(1, "1") if name.endswith("jpg")]
    for name, number in (("a", 10), ("b", 20)):
        files = [*sample(number, "0"), *bare, *sample(number + 1, "2", caption="word " * 8)]
        write_tar(tmp_path / "pool" / f"{name}.tar", files)
    path = tmp_path / "r.yaml"
    path.write_text(
        f"pool: {{shards: {tmp_path}/pool, store: {tmp_path}/store}}\n"
        "compute:\n  caption: {use: caption.Caption}\n"
        "  entries: {use: metaclip.EntryMatch}\n  counts: {use: metaclip.EntryCount, entries: entries.ids}\n"
        "  balance: {use: metaclip.BalanceProbability, entries: entries.ids, counts: counts, t: 1}\n"
        "keep:\n  caption.words: {min: 3}\n  balance.probability: {chance: true, seed: 3, missing: keep}\n"
    )
    assert winnow("compute", path, "--local").returncode == 0
    return path


def shown(recipe, *words):
    """The samples that are explained, and the exit status."""
    done = winnow("explain", recipe, *words, "--json")
    return done.returncode, [(entry["shard"], entry["key"]) for entry in json.loads(done.stdout)], done.stderr


def test_beginnings_keys_and_shards(recipe):
    assert shown(recipe, uid(20)[:12], "a/2", uid(10))[:2] == (0, [("b", "0"), ("a", "2"), ("a", "0")])
    assert shown(recipe, "2")[:2] == (0, [("a", "2"), ("b", "2")])


def test_one_that_is_not_found_does_not_hide_the_others(recipe):
    status, found, said = shown(recipe, "f" * 32, uid(10), "nothing")
    assert (status, found) == (2, [("a", "0")])
    assert said.splitlines()[-2:] == [
        f"error: no sample of the pool has the uid {'f' * 32}",
        "error: no sample of the pool has the uid, beginning of a uid, or key 'nothing'",
    ]
    assert shown(recipe, "nothing")[:2] == (2, [])


def test_a_shard_that_is_not_done_is_named_beside_a_sample_that_is_not_found(recipe, tmp_path):
    (tmp_path / "pool" / "c.tar").write_bytes((tmp_path / "pool" / "a.tar").read_bytes())
    override = ["--set", "compute.balance=null", "--set", "keep.balance.probability=null"]
    status, found, said = shown(recipe, uid(10), "nothing", *override)
    assert (status, found) == (2, [("a", "0")])
    assert "1 shard is not done:" in said
    assert shown(recipe, uid(10), *override)[0] == 1


def test_the_tables_name_draw_entries_and_a_missing_caption(recipe):
    done = winnow("explain", recipe, "a/0", "a/1")
    text = done.stderr + done.stdout
    assert done.returncode == 0
    assert "no caption" in text
    assert "None" not in text
    assert " failed " in text
    (entry, bare) = json.loads(winnow("explain", recipe, "a/0", "a/1", "--json").stdout)
    words, balance = entry["rules"]
    assert words["draw"] is None
    assert 0 <= balance["draw"] < 1
    assert (balance["draw"] < balance["value"]) == (balance["verdict"] == "passes")
    assert f"draw(seed 3, uid) < value: draw {balance['draw']:.4g}" in text
    assert {"entry": "caption", "count": 2} in entry["evidence"]["balance"]
    assert bare["rules"][1]["verdict"] == "no value, passes"
    assert bare["evidence"] == {}
