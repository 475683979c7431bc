"""The names that open_clip knows, read without importing it: the same that open_clip itself lists."""

from pathlib import Path

import pytest

from operators.algorithms.clip import open_clip_names
from operators.algorithms.clip.open_clip_names import models, tags, why_not_model, why_not_weights


def test_the_names_are_those_of_open_clip():
    import open_clip

    listed = set(open_clip.list_models())
    assert models() <= listed
    configs = Path(open_clip.__file__).parent / "model_configs"  # other tests add models of their own
    assert not [name for name in listed - models() if (configs / f"{name}.json").exists()]
    pairs = {(model, tag) for model, known in tags().items() for tag in known}
    assert pairs == set(open_clip.list_pretrained())
    assert len(pairs) > 100


@pytest.mark.parametrize("model", ["ViT-L-14", "ViT-L/14", "RN50-quickgelu", "hf-hub:laion/any"])
def test_models_that_there_are(model):
    assert why_not_model(model) == ""


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("ViT-L14", "open_clip does not know the model ViT-L14 (did you mean ViT-L-14?)"),
        ("vit-l-14", "open_clip does not know the model vit-l-14 (did you mean ViT-L-14?)"),
        ("qqq", "open_clip does not know the model qqq (see open_clip.list_models())"),
        ("mine/none.json", "there is no file mine/none.json"),
    ],
)
def test_models_that_there_are_not(model, reason):
    assert why_not_model(model) == reason


def test_a_folder_with_a_model(tmp_path):
    reference = f"local-dir:{tmp_path}"
    assert why_not_model(reference) == f"there is no file {tmp_path}/open_clip_config.json"
    (tmp_path / "open_clip_config.json").write_text("{}")
    assert why_not_model(reference) == ""
    assert why_not_weights(reference, "anything") == ""


@pytest.mark.parametrize(
    ("model", "tag"),
    [
        ("ViT-L-14", "openai"),
        ("ViT-L/14", "openai"),
        ("ViT-L-14", "datacomp_xl-s13b-B90K"),  # as open_clip reads it
        ("ViT-L-14-quickgelu", "dfn2b"),
        ("hf-hub:laion/any", "ignored"),
        ("ViT-L14", "openai"),  # the model is the mistake
        ("mine/RN50.json", "openai"),  # open_clip goes by the file's name
    ],
)
def test_weights_that_there_are(model, tag):
    assert why_not_weights(model, tag) == ""


@pytest.mark.parametrize(
    ("model", "tag", "reason"),
    [
        ("ViT-L-14", "openia", "the tag openia for ViT-L-14 (did you mean openai?)"),
        (
            "ViT-L-14-quickgelu",
            "laion2b_s32b_b82k",
            "the tag laion2b_s32b_b82k for ViT-L-14-quickgelu; there are: ",
        ),
        ("EVA02-L-14", "openai", "the tag openai for EVA02-L-14; there are: merged2b_s4b_b131k"),
        ("ViT-L-14", "none.pt", "there is no file none.pt"),
        ("ViT-L14", "weights/none", "there is no file weights/none"),
        ("mine/tiny.json", "openai", "open_clip has no tags for tiny, got openai: give a checkpoint file"),
    ],
)
def test_weights_that_there_are_not(model, tag, reason):
    found = why_not_weights(model, tag)
    assert reason in found
    assert "\n" not in found


def test_tags_are_not_checked_if_their_file_has_another_form(tmp_path, monkeypatch):
    (tmp_path / "pretrained.py").write_text("def load():\n    return {}\n")
    monkeypatch.setattr(open_clip_names, "_package", lambda: tmp_path)
    tags.cache_clear()
    try:
        assert tags() == {}
        assert why_not_weights("ViT-L-14", "openia") == ""
    finally:
        tags.cache_clear()
