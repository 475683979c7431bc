"""Files of a CLIP that cannot be used: the message says which, what is wrong with it, and the next step."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from operators.algorithms.clip.model import ClipModel
from operators.clip import ClipScore
from pipeline.operator import Device
from tests.support.tiny_clip import TinyClip

AGAIN = "; copy the file again, or name another"
OTHER = "; copy it again, or name a checkpoint of this model"


@pytest.fixture
def broken(tiny_clip: TinyClip, tmp_path):
    """broken(name, data) -> a checkpoint of the tiny model with other content: bytes, or what is saved."""

    def make(name: str, data: object) -> str:
        path = tmp_path / name
        path.write_bytes(data) if isinstance(data, bytes) else torch.save(data, path)
        return str(path)

    return make


def said(tiny_clip: TinyClip, weights: str) -> str:
    """What loading the model with these weights says."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is compared by the caller
        ClipModel(tiny_clip.config, weights, Device())
    return str(caught.value)


def test_what_the_beginning_of_a_checkpoint_tells(tiny_clip, broken):
    """The same before the start as when the model is loaded."""
    whole = Path(tiny_clip.weights).read_bytes()
    state = broken("whole.pt", {"a": torch.zeros(9)})
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:..."
    for path, fault in {
        broken("empty.pt", b""): "is empty, must be a file of torch.save or safetensors",
        broken("cut.pt", Path(state).read_bytes()[:-100]): (
            "was cut: it begins as a file of torch.save does, and its end is missing"
        ),
        broken("pointer.pt", pointer): (
            "is not a file of torch.save: it begins with b'version https://git-lfs.'"
        ),
        broken("none.safetensors", b"\x02" + bytes(7) + b"{}"): "holds no tensor",
        broken("cut.safetensors", whole[:-4]): (
            f"has {len(whole) - 12 - header_bytes(whole):,} bytes of tensors, its header says more: it was cut"
        ),
    }.items():
        operator = ClipScore(model=tiny_clip.config, pretrained=path)
        assert operator.why_broken("pretrained", path) == f"{path} {fault}{AGAIN}"
        assert said(tiny_clip, path) == f"{path} {fault}{AGAIN}"


def header_bytes(safetensors: bytes) -> int:
    """Bytes of the header of a .safetensors, without the eight that hold this number."""
    return int.from_bytes(safetensors[:8], "little")


@pytest.mark.parametrize(
    ("saved", "fault"),
    [
        ({}, "it holds no tensor"),
        (torch.zeros(3), "it does not hold the tensors of a CLIP by name (AttributeError: "),
        ({"weight": torch.zeros(3)}, "RuntimeError: Error(s) in loading state_dict for "),
    ],
    ids=["nothing", "a tensor", "another model"],
)
def test_what_only_loading_tells(saved, fault, tiny_clip, broken):
    path = broken("saved.pt", saved)
    assert ClipScore(model=tiny_clip.config, pretrained=path).why_broken("pretrained", path) == ""
    message = said(tiny_clip, path)
    assert message.startswith(
        f"{path} cannot be loaded as the weights of {Path(tiny_clip.config).stem}: {fault}"
    )
    assert message.endswith(OTHER)
    assert "\n" not in message


def test_a_cut_pickle_of_before_zips(tiny_clip, broken):
    torch.save(
        {"weight": torch.zeros(300)}, path := broken("old.pt", b""), _use_new_zipfile_serialization=False
    )
    Path(path).write_bytes(Path(path).read_bytes()[:-700])
    assert said(tiny_clip, path).startswith(f"{path} cannot be loaded as the weights of ")


def test_weights_by_name_are_no_file_of_torch(tiny_clip, tmp_path):
    """open_clip reads .npz of big_vision itself: a zip without torch's data.pkl."""
    np.savez(path := str(tmp_path / "siglip.npz"), weight=np.zeros(3))
    assert ClipScore(model=tiny_clip.config, pretrained=path).why_broken("pretrained", path) == ""
    assert said(tiny_clip, path).startswith(f"{path} cannot be loaded as the weights of ")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", " is empty, must be a config of open_clip; copy it again, or name a model such as ViT-B-32"),
        ('{"embed_dim": 32', " is not JSON (Expecting "),
        ('{"embed_dim": 32}', " is not a config of open_clip: it lacks vision_cfg, text_cfg"),
        (
            b"\xff\xfe{\0}\0",
            " is not JSON ('utf-8' codec can't decode byte 0xff ",
        ),  # open_clip knows UTF-8 only
        (b"\xef\xbb\xbf{}", " is not JSON (Unexpected UTF-8 BOM "),
        ("[]", " is not a config of open_clip: it lacks embed_dim, vision_cfg, text_cfg"),
    ],
)
def test_configs(text, fault, tiny_clip, tmp_path):
    path = tmp_path / "mine.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    operator = ClipScore(model=str(path), pretrained=tiny_clip.weights)
    assert operator.why_broken("model", str(path)).startswith(f"{path}{fault}")
    with pytest.raises(ValueError, match=f"^{re.escape(f'{path}{fault}')}"):
        ClipModel(str(path), tiny_clip.weights, Device())
    path.write_text(json.dumps(json.loads(Path(tiny_clip.config).read_text())))
    assert operator.why_broken("model", str(path)) == ""


def test_other_errors_pass_as_they_are(tiny_clip, monkeypatch):
    """A package that is missing is no fault of the checkpoint."""

    def lacks(*args: object, **kwargs: object) -> None:
        raise ImportError("timm is not installed")

    monkeypatch.setattr("open_clip.create_model_and_transforms", lacks)
    with pytest.raises(ImportError, match="timm"):
        ClipModel(tiny_clip.config, tiny_clip.weights, Device())
