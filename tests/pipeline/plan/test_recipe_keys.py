"""The keys of a recipe: which changes reach which operators."""

import os
from pathlib import Path

import pytest

from pipeline.plan.session import Session
from pipeline.recipe.load import parse
from pipeline.storage import digests
from pipeline.storage.digests import file_digest
from pipeline.storage.folder import Folder
from tests.pipeline.plan.chains import CHAIN, SHARDS, key

# --- keys ------------------------------------------------------------------------------------------


def changed(one: dict[str, str], two: dict[str, str]) -> set[str]:
    assert one.keys() == two.keys()
    return {name for name in one if one[name] != two[name]}


@pytest.mark.parametrize(
    ("name", "change", "expected"),
    [
        ("length", {"scale": 2}, {"length", "plus", "histogram", "frequency", "more"}),
        ("plus", {"by": 3}, {"plus"}),
        ("histogram", {"of": "plus.value"}, {"histogram", "frequency", "more"}),
        ("frequency", {"of": "plus.value"}, {"frequency", "more"}),
        ("more", {"by": 3}, {"more"}),
        ("plus", {"by": 1.0}, set()),  # the default, written out
    ],
)
def test_a_field_changes_its_operator_and_what_reads_it(recipe, name, change, expected):
    compute = {**CHAIN, name: {**CHAIN[name], **change}}
    assert changed(key(recipe()), key(recipe(compute))) == expected


def test_rules_resources_exports_and_order_change_no_key(recipe):
    plain = key(recipe())
    assert key(recipe(keep={"length.value": {"top": 0.3}})) == plain
    assert key(recipe(run={"length": {"gpus": 1, "batch_size": 7, "workers": 3, "cpus": 0.5}})) == plain
    assert key(recipe(export={"subset": "x.npy"}, name="other")) == plain
    assert key(recipe(dict(reversed(CHAIN.items())))) == plain


def test_shards_are_part_of_a_stats_key_and_of_no_other(recipe):
    checked = recipe()
    assert changed(key(checked), key(checked, SHARDS[:2])) == {"histogram", "frequency", "more"}


def test_an_edited_plugin_is_another_operator(recipe, planted, tmp_path):
    copy = tmp_path / "planted.py"
    copy.write_text(Path(planted).read_text())
    plain = recipe()
    same = parse({"pool": {"shards": "x.tar", "store": "x"}, "compute": CHAIN, "plugins": [str(copy)]})
    assert key(same) == key(plain)
    copy.write_text(Path(planted).read_text() + "\n# edited\n")
    edited = parse({"pool": {"shards": "x.tar", "store": "x"}, "compute": CHAIN, "plugins": [str(copy)]})
    assert changed(key(plain), key(edited)) == set(CHAIN)


def test_files_count_by_content_not_by_path(tmp_path):
    def session(model: str, weights: str) -> Session:
        compute = {"clip": {"use": "clip.ClipScore", "model": model, "pretrained": weights}}
        pool = {"shards": str(tmp_path / "x.tar"), "store": str(tmp_path / "store")}
        return Session(parse({"pool": pool, "compute": compute}), SHARDS)

    for name, content in (("a.pt", b"1"), ("b.pt", b"1"), ("c.pt", b"2"), ("m.json", b"{}")):
        (tmp_path / name).write_bytes(content)
    a, b, c, m = (str(tmp_path / name) for name in ("a.pt", "b.pt", "c.pt", "m.json"))
    assert session("ViT-B-32", a).keys == session("ViT-B-32", b).keys
    assert session("ViT-B-32", a).keys != session("ViT-B-32", c).keys
    assert session("ViT-B-32", a).keys != session("ViT-L-14", a).keys
    assert session(m, a).keys != session("ViT-B-32", a).keys
    assert session("ViT-B-32", "openai").keys != session("ViT-B-32", "laion400m_e32").keys
    before = session("ViT-B-32", a).keys
    (tmp_path / "a.pt").write_bytes(b"3")
    assert session("ViT-B-32", a).keys != before


def test_file_digest(tmp_path):
    (tmp_path / "f").write_bytes(b"abc")
    assert file_digest(str(tmp_path / "f")) == "cf4ab791c62b8d2b2109c90275287816"  # b2sum -l 128
    assert file_digest(str(tmp_path / "absent")) is None
    assert file_digest(str(tmp_path)) is None
    assert file_digest("openai") is None
    assert file_digest("hf-hub:org/model") is None
    assert file_digest("https://example.org/lid.176.bin") is None  # nobody asks the web before each decision


def test_a_large_files_digest_is_remembered(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.storage.digests.LARGE", 4)
    store, path = Folder(str(tmp_path / "store")), tmp_path / "f"
    path.write_bytes(b"weights")
    first = digests.field_digest(str(path), store)
    assert first == file_digest(str(path))
    with monkeypatch.context() as patched:
        patched.setattr("pipeline.storage.digests.file_digest", lambda path: pytest.fail("it is read again"))
        assert digests.field_digest({"a": str(path)}, store) == {"a": first}
    path.write_bytes(b"others!")
    os.utime(path, ns=(1, 1))
    assert digests.field_digest(str(path), store) == file_digest(str(path)) != first
