"""The files of a CLIP that open_clip would not find by itself: on storage, and below the home folder."""

from pathlib import Path

import fsspec
import pytest

from operators.clip import ClipScore
from pipeline.operator import Device
from tests.operators.test_clip import CAPTIONS, score
from tests.support.tiny_clip import TinyClip

MEMORY = fsspec.filesystem("memory")


@pytest.mark.parametrize(
    ("model", "weights"),
    [
        ("memory://clip/far-test-clip.json", "memory://clip/far.safetensors"),
        ("~/tiny-test-clip.json", "~/tiny.safetensors"),
    ],
)
def test_a_model_elsewhere_gives_the_same(model, weights, tiny_clip: TinyClip, tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.assets.CACHE", str(tmp_path / "cache"))
    MEMORY.pipe_file("/clip/far-test-clip.json", Path(tiny_clip.config).read_bytes())
    MEMORY.pipe_file("/clip/far.safetensors", Path(tiny_clip.weights).read_bytes())
    near = ClipScore(model=tiny_clip.config, pretrained=tiny_clip.weights)
    near.setup({}, Device())
    monkeypatch.setenv("HOME", str(Path(tiny_clip.weights).parent))
    far = ClipScore(model=model, pretrained=weights)
    far.setup({}, Device())
    assert score(far, CAPTIONS).equals(score(near, CAPTIONS))
