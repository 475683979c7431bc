"""What `winnow search` says of wrong indexes, models and flags: one line each."""

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml

from pipeline.export.places.contents import sealed
from tests.support.command import winnow
from tests.support.decided_pool import uid
from tests.support.indexed_pool import hits
from tests.support.tiny_clip import TINY


def line(*words: object) -> str:
    """The one line of an error."""
    done = winnow("search", *words)
    assert (done.returncode, done.stdout) == (2, "")
    (found,) = done.stderr.splitlines()
    return found.removeprefix("error: ")


def described(place: Path, **about: object) -> Path:
    """The index with other values in its manifest; None takes one out."""
    path = place / "index" / "image.json"
    manifest = json.loads(path.read_bytes()) | about
    path.write_bytes(sealed({k: v for k, v in manifest.items() if k != "seal" and v is not None}))
    return place / "index"


def test_nothing_asked(made):
    assert line(made / "index") == "nothing to search for: give --text, --image or --like"
    assert line(made / "index", "--not", "x") == "nothing to search for: give --text, --image or --like"
    assert line(made / "index", "--text", " ") == "--text: must not be empty"


def test_no_such_index(made, tmp_path):
    assert line(tmp_path / "no", "--text", "x") == (
        f"{tmp_path}/no is neither the folder of an index nor a recipe (.yaml): check the path"
    )
    assert line(made / "pool", "--text", "x") == (
        f"{made}/pool is not an index: it has no image.json; run `winnow export` first, or name its folder"
    )
    assert line(made / "r.yaml", "--text", "x", "--set", "export.index=null") == (
        f"{made}/r.yaml has no export.index: {{embedding: clip.image_embedding, path: ...}}"
    )
    moved = ("--set", f"export.index.path={tmp_path}/other")
    assert line(made / "r.yaml", "--text", "x", *moved) == (
        f"there is no index at {tmp_path}/other yet: run `winnow export {made}/r.yaml` first"
    )
    assert line(made / "r.yaml", "--text", "x", "--index", "foo") == "--index must name one of index, got foo"
    assert line(made / "index", "--text", "x", "--index", "foo") == (
        f"--index and --set are of a recipe, and {made}/index is the folder of an index"
    )


def test_an_index_of_another_column_or_kind_than_the_recipe_has(place, tmp_path):
    recipe = yaml.safe_load((place / "r.yaml").read_text())
    path = tmp_path / "t.yaml"
    for kind in ("text", "image"):
        index = {"embedding": "clip.text_embedding", "path": str(place / "index"), "kind": kind}
        recipe["export"] = {"index": index}
        path.write_text(yaml.safe_dump(recipe))
        assert line(path, "--like", uid(3)) == (
            f"{place}/index is an index of clip.image_embedding, and the recipe's is of clip.text_embedding: run "
            f"`winnow export {path}` again, or name the folder instead of the recipe"
        )


def test_an_index_of_an_earlier_version(place):
    path = described(place, operator=None, pool=None)
    assert line(path, "--text", "x") == (
        f"{path} does not say which model made clip.image_embedding, as an earlier version wrote it: name the "
        "recipe instead of the index's folder, or the model with --model; --like searches without a model"
    )
    assert line(path, "--like", uid(3), "--export", place / "hits") == (
        f"{path} does not say where its pool is, as an earlier version wrote it: name the recipe instead of the "
        "index's folder"
    )
    assert len(hits(path, "--like", uid(3), "--k", 2)[0]) == 2


def test_a_model_of_embeddings_that_came_with_the_pool(place, made, tiny_clip):
    """It can be named, and the answers are those of the same model in the recipe; an index that knows its
    model takes no other."""
    named = ("--model", tiny_clip.config, "--pretrained", tiny_clip.weights)
    expected = hits(made / "index", "--text", "x")
    assert hits(made / "index", "--text", "x", *named) == expected
    tag = ("--model", "ViT-B-32", "--pretrained", "openai")
    assert "the model ViT-B-32 is not the one that made" in line(made / "index", "--text", "x", *tag)
    path = described(place, operator={}, embedding="datacomp.l14_image_embedding")
    assert line(path, "--text", "x") == (
        f"{path}: datacomp.l14_image_embedding came with the pool, and the index does not say from which model; "
        "name it: --model ViT-L-14 --pretrained openai; --like searches without a model"
    )
    assert line(path, "--text", "x", "--pretrained", "openai") == (
        "--pretrained: of which model? Add --model, such as ViT-L-14"
    )
    assert line(path, "--text", "x", "--model", "ViT-B-32") == (
        "--model ViT-B-32 needs --pretrained: a tag of the model, such as openai, or a checkpoint file"
    )
    for suffix in ("safetensors", "pt"):
        broken = place / f"broken.{suffix}"
        broken.write_bytes(b"no weights")
        named_broken = ("--model", tiny_clip.config, "--pretrained", broken)
        assert str(broken) in line(path, "--text", "x", *named_broken)
    assert hits(path, "--text", "x", *named) == expected


def test_a_model_that_does_not_match(place, tiny_clip, tmp_path):
    """Other weights under the same name, another model in the recipe, a column that no CLIP made."""
    other = tmp_path / "tiny.safetensors"
    shutil.copy(tiny_clip.weights, other)
    made = json.loads((place / "index" / "image.json").read_bytes())["operator"]
    path = described(place, operator={**made, "pretrained": str(other)})
    assert len(hits(path, "--text", "x")[0]) == 10
    from safetensors.torch import load_file, save_file

    weights = load_file(other)
    save_file({name: value * 2 for name, value in weights.items()}, other)
    assert line(path, "--text", "x") == (
        f"the model {tiny_clip.config} is not the one that made {path}: its files, or the pool's limits, are others; "
        "name the recipe instead of the index's folder, or add --trust"
    )
    assert len(hits(path, "--text", "x", "--trust")[0]) == 10
    assert "is not the one that made" in line(path, "--text", "x", "--pretrained", other)
    said = line(place / "r.yaml", "--text", "x", "--set", "compute.clip.preprocess=fast")
    assert re.fullmatch(
        r".*index was made from columns/clip-\w+, and with the recipe's model clip\.image_embedding would be "
        r"columns/clip-\w+: the model does not match; run `winnow run` again, or name the recipe that made the "
        r"index",
        said,
    )
    vector = described(place, operator={"use": "caption.Caption"}, embedding="vector.embedding")
    assert line(vector, "--text", "x") == (
        f"{vector}: vector.embedding is made by caption.Caption, which has no text tower to ask; --like searches "
        "without a model"
    )


def test_a_model_that_lies_elsewhere_now(place, tiny_clip, tmp_path):
    """The recipe had relative paths, and the command starts in another folder, or on another machine."""
    made = json.loads((place / "index" / "image.json").read_bytes())["operator"]
    expected = hits(place / "index", "--text", "x")
    path = described(
        place, operator={**made, "model": "elsewhere.json", "pretrained": "elsewhere.safetensors"}
    )
    assert line(path, "--text", "x") == (
        "the model of clip.image_embedding: there is no file elsewhere.json; relative paths start at the current "
        "folder: start where the recipe ran, or say where the file is, as in --model PATH"
    )
    assert "the pretrained of clip.image_embedding: " in line(
        path, "--text", "x", "--model", tiny_clip.config
    )
    named = ("--model", tiny_clip.config, "--pretrained", tiny_clip.weights)
    assert hits(path, "--text", "x", *named) == expected
    hub = described(place, operator={**made, "model": "hf-hub:some/model", "pretrained": ""})
    assert "relative paths" not in line(hub, "--text", "x")


def test_a_model_of_another_width(place, tmp_path):
    """With --trust nothing else is left to tell."""
    narrow = {**TINY, "embed_dim": 16}
    (tmp_path / "narrow-test-clip.json").write_text(json.dumps(narrow))
    import open_clip
    from safetensors.torch import save_file

    model = open_clip.CLIP(**{k: narrow[k] for k in ("embed_dim", "vision_cfg", "text_cfg")})
    save_file(model.state_dict(), tmp_path / "narrow.safetensors")
    config = f"{tmp_path}/narrow-test-clip.json"
    operator = {"use": "clip.ClipScore", "model": config, "pretrained": f"{tmp_path}/narrow.safetensors"}
    path = described(place, operator=operator)
    assert line(path, "--text", "x", "--trust") == (
        f"{config} gives 16 numbers, and {path} holds vectors of 32: the model does not match"
    )
    gone = described(place, operator={**operator, "pretrained": f"{tmp_path}/gone.safetensors"})
    assert line(gone, "--text", "x", "--trust") == (
        f"the pretrained of clip.image_embedding: there is no file {tmp_path}/gone.safetensors"
    )


def test_pictures_that_cannot_be_asked_with(made, tmp_path):
    (tmp_path / "no.jpg").write_text("no picture")
    assert line(made / "index", "--image", tmp_path / "no.jpg") == (
        f"--image: {tmp_path}/no.jpg: image cannot be decoded: unknown format"
    )
    assert line(made / "index", "--image", tmp_path / "gone.jpg") == (
        f"--image: {tmp_path}/gone.jpg does not exist"
    )


def test_the_pool_of_an_index_that_was_moved_alone(place, tmp_path):
    shutil.move(place / "index", tmp_path / "alone")
    said = line(tmp_path / "alone", "--like", uid(3), "--grid", tmp_path / "g.png")
    assert said.startswith(f"{tmp_path}/alone says where its pool is, but it cannot be used: pool.shards: ")
    assert said.endswith("; name the recipe instead of the index's folder")
    assert len(hits(tmp_path / "alone", "--like", uid(3), "--k", 2)[0]) == 2


@pytest.mark.parametrize("pool", [{}, {"shards": 3}, {"shards": [3], "store": []}])
def test_a_pool_that_is_garbled(place, pool):
    path = described(place, pool=pool)
    said = line(path, "--like", uid(3), "--export", place / "hits")
    assert said == f"{path}: pool is garbled; run `winnow export` again"


@pytest.mark.parametrize(
    ("words", "status"), [(("--k", 0), 2), (("--min", 2), 2), (("--probes", 0), 2), (("--grid", "g.gif"), 2)]
)
def test_values_that_are_not_allowed(made, words, status):
    assert winnow("search", made / "index", "--like", uid(3), *words).returncode == status
