"""What passes need and is not there: a line for each file, model, tag and GPU, and nothing for the others."""

import json
import math
from importlib.util import find_spec
from pathlib import Path

import fsspec
import pytest
import torch

from pipeline.errors import RecipeError
from pipeline.plan import absent
from pipeline.plan.absent import absent_files, absent_gpus, gpus_here
from pipeline.plan.cluster import Node
from pipeline.plan.passes import ScorePass, Stage, Stored, plan
from pipeline.plan.session import Session
from pipeline.pool.shards import Shard
from pipeline.recipe.load import parse
from pipeline.recipe.sections import Resources
from pipeline.run.compute import compute
from pipeline.run.executor import LocalExecutor

CLIP = {"use": "clip.ClipScore", "model": "ViT-L-14", "pretrained": "openai"}
NOT = {"transformers": None}  # packages that are not installed
MEMORY = fsspec.filesystem("memory")
PLUGIN = """
from typing import Any, ClassVar
import polars as pl
from pipeline.operator import File, Files, Score

class Words(Score):
    one: File = ""
    many: Files = ""
    writes: ClassVar[dict[str, Any]] = {"n": pl.Int64}

    def score(self, batch):
        return batch.select(n=pl.lit(0))
"""


@pytest.fixture
def bound(tmp_path):
    """bound(compute, **sections) -> a session over one shard that does not exist."""
    (tmp_path / "lists.py").write_text(PLUGIN)

    def build(compute: dict, **sections: object) -> Session:
        pool = {"shards": f"{tmp_path}/0.tar", "store": f"{tmp_path}/store"}
        plugins = [str(tmp_path / "lists.py")]
        recipe = parse({"pool": pool, "compute": compute, "plugins": plugins, **sections})
        return Session(recipe, (Shard("0", f"{tmp_path}/0.tar", 10),))

    return build


def lines(session: Session, *only: str) -> list[str]:
    return absent_files(session, plan(session.recipe, session.shards, session.keys, Stored(), only))


# --- packages --------------------------------------------------------------------------------------


def test_what_an_operator_lacks_is_said_before_the_start(bound, tmp_path, monkeypatch):
    """A model with a Hugging Face tokenizer, by name, as a config of one's own, and as a folder."""
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name, find=find_spec: NOT[name] if name in NOT else find(name)
    )
    text = {"embed_dim": 8, "vision_cfg": {}, "text_cfg": {"hf_tokenizer_name": "bert-base-uncased"}}
    (tmp_path / "mine.json").write_text(json.dumps(text))
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "open_clip_config.json").write_text(json.dumps({"model_cfg": text}))
    torch.save({}, tmp_path / "weights.pt")
    for model, pretrained in (
        ("ViT-B-16-SigLIP", "webli"),
        (f"{tmp_path}/mine.json", f"{tmp_path}/weights.pt"),
        (f"local-dir:{tmp_path}/folder", ""),
    ):
        session = bound({"clip": {"use": "clip.ClipScore", "model": model, "pretrained": pretrained}})
        assert lines(session) == [
            f"compute.clip.model: {model} has a Hugging Face tokenizer, and the package transformers is not "
            "installed: pip install 'winnow-curation[transformers]'"
        ]
        with pytest.raises(RecipeError, match=r"winnow-curation\[transformers\]"):
            compute(session, executor=LocalExecutor())
    assert lines(bound({"clip": CLIP})) == []


def test_a_package_that_is_there(bound, monkeypatch):
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name, find=find_spec: find("json" if name in NOT else name)
    )
    assert (
        lines(bound({"clip": {"use": "clip.ClipScore", "model": "ViT-B-16-SigLIP", "pretrained": "webli"}}))
        == []
    )


# --- files -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["{}/none.txt", "file://{}/none.txt", "none.txt", "a/none", "memory://absent/none"]
)
def test_a_file_that_does_not_exist(bound, tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    path = path.format(tmp_path)
    session = bound({"words": {"use": "lists.Words", "one": path}})
    assert lines(session) == [f"compute.words.one: there is no file {path}"]


@pytest.mark.parametrize(
    "path", ["{}/here.txt", "file://{}/here.txt", "here.txt", "memory://absent/here.txt"]
)
def test_a_file_that_exists(bound, tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here.txt").write_text("a")
    MEMORY.pipe_file("/absent/here.txt", b"a")
    assert lines(bound({"words": {"use": "lists.Words", "one": path.format(tmp_path)}})) == []


def test_a_folder_is_not_a_file(bound, tmp_path):
    session = bound({"words": {"use": "lists.Words", "one": str(tmp_path)}})
    assert lines(session) == [f"compute.words.one: there is no file {tmp_path}"]


def test_several_files_by_name(bound, tmp_path):
    (tmp_path / "a.txt").write_text("a")
    many = {"here": f"{tmp_path}/a.txt", "gone": f"{tmp_path}/b.txt", "web": "https://example.org/c.txt"}
    session = bound({"words": {"use": "lists.Words", "many": many}})
    assert lines(session) == [f"compute.words.many.gone: there is no file {tmp_path}/b.txt"]


@pytest.mark.parametrize("value", ["https://example.org/none.txt", "a_tag", "v1.5"])
def test_what_may_be_there(bound, value):
    """A web address, which only its download tells; a value that does not look like a path."""
    assert lines(bound({"words": {"use": "lists.Words", "one": value}})) == []


def test_only_operators_that_will_run_count(bound):
    words = {"use": "lists.Words", "one": "none.txt"}
    session = bound({"words": words, "caption": {"use": "caption.Caption"}})
    assert lines(session, "caption") == []
    assert len(lines(session, "words")) == 1
    assert absent_files(session, []) == []


def test_a_published_file_says_where_it_is(bound):
    (line,) = lines(
        bound({"language": {"use": "datacomp.Language", "detector": "fasttext", "model": "lid.176.bin"}})
    )
    assert line.startswith(
        "compute.language.model: there is no file lid.176.bin; it is published at https://"
    )


def test_a_model_and_its_tag(bound):
    assert lines(bound({"clip": CLIP})) == []
    assert lines(bound({"clip": {**CLIP, "model": "ViT-L14"}})) == [
        "compute.clip.model: open_clip does not know the model ViT-L14 (did you mean ViT-L-14?)"
    ]
    assert lines(bound({"clip": {**CLIP, "pretrained": "openia"}})) == [
        "compute.clip.pretrained: open_clip does not know the tag openia for ViT-L-14 (did you mean openai?)"
    ]
    assert lines(bound({"clip": {**CLIP, "pretrained": "/weights/none.pt"}})) == [
        "compute.clip.pretrained: there is no file /weights/none.pt"
    ]


# --- GPUs ------------------------------------------------------------------------------------------


def asking(gpus: float) -> list[ScorePass]:
    return [
        ScorePass((), (Stage(("clip", "text"), Resources(gpus=gpus)), Stage(("caption",), Resources())), True)
    ]


@pytest.mark.parametrize(
    ("gpus", "nodes", "line"),
    [
        (1, [Node(8, 0)], "this machine has 0"),
        (2, [Node(8, 1)], "this machine has 1"),
        (2, [Node(8, 1), Node(8, 1)], "the largest machine has 1"),
        (0.5, [Node(8, 1)], ""),
        (8, [Node(8, math.inf)], ""),
        (0, [Node(8, 0)], ""),
    ],
)
def test_gpus_that_no_machine_has(gpus, nodes, line):
    expected = [f"run.clip.gpus asks for {gpus}, {line} (on CPU: --set run.clip.gpus=0)"] if line else []
    assert absent_gpus(asking(gpus), nodes) == expected
    assert absent_gpus(asking(gpus) * 2, nodes) == expected


@pytest.mark.parametrize(
    ("devices", "visible", "expected"),
    [
        ([], None, 0),
        (["nvidiactl", "nvidia-uvm"], None, 0),
        (["nvidia0", "nvidia11", "nvidiactl"], None, 2),
        (["nvidia0", "nvidia1"], "1", 1),
        (["nvidia0", "nvidia1"], "", 0),
        (["nvidia0"], "-1", 0),
        (["nvidia0"], "0,1", 1),
        ([], "0", 0),
        (["kfd"], None, math.inf),
        (["dxg"], "0", 1),
        (["dxg"], "", 0),
    ],
)
def test_the_gpus_of_this_machine(tmp_path, monkeypatch, devices, visible, expected):
    monkeypatch.setattr(absent, "DEVICES", tmp_path)
    for name in devices:
        (tmp_path / name).touch()
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gpus_here() == expected


# --- before any work -------------------------------------------------------------------------------


def test_computing_stops_before_any_work(bound, tmp_path, monkeypatch):
    """All that is missing in one error, and nothing is written."""
    monkeypatch.setattr(absent, "DEVICES", tmp_path)
    session = bound(
        {"caption": {"use": "caption.Caption"}, "clip": {**CLIP, "pretrained": "none.pt"}},
        run={"clip": {"gpus": 1}},
    )
    with pytest.raises(RecipeError) as raised:
        compute(session, LocalExecutor())
    assert str(raised.value).splitlines() == [
        "compute.clip.pretrained: there is no file none.pt",
        "run.clip.gpus asks for 1, this machine has 0 (on CPU: --set run.clip.gpus=0)",
    ]
    assert [p.name for p in Path(tmp_path / "store").rglob("*") if p.is_file()] == ["store.json"]


def test_the_plain_loop_gives_an_operator_any_number_of_gpus(tmp_path, monkeypatch):
    monkeypatch.setattr(absent, "DEVICES", tmp_path)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert LocalExecutor(2).nodes == (Node(2, 0),)
    (tmp_path / "nvidia0").touch()
    assert absent_gpus(asking(4), LocalExecutor(2).nodes) == []
