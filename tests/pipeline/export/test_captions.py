"""A set with three captions a sample (txt, a key of the json, a list in the json): scored, kept, exported,
and read by open_clip's training loader."""

import io
import json
import random
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from jobs.toy import sample_pool
from operators.algorithms.clip.model import ClipModel, unit
from pipeline.decide.decide import decide
from pipeline.decide.explain import explain_rows
from pipeline.errors import RecipeError
from pipeline.export.exporters import requested
from pipeline.export.indexes.index_exporter import unwatched
from pipeline.operator import Device
from pipeline.plan.session import Session
from pipeline.recipe.load import parse
from pipeline.run.compute import compute
from pipeline.run.executor import LocalExecutor
from pipeline.view.cards import Cost, cards
from tests.support.decided_pool import read_tar, uid, write_tar
from tests.support.open_clip_loader import check_size_and_load

COUNT = 12
MODELS = Path(sample_pool.__file__).parent / "models"
CLIP = {"model": str(MODELS / "scene_clip.json"), "pretrained": str(MODELS / "scene_clip.safetensors")}
PLACES = ["txt", "json.recaption", "json.captions"]


def captions_of(number: int, texts: list[str]) -> list[str]:
    """Four captions, one of which is right; the last word is a number that no other caption has."""
    found = [texts[(number + shift) % COUNT] for shift in (5, 7, 9)]
    found.insert(number % 4, texts[number])
    return [f"{text} {10 * number + place}" for place, text in enumerate(found)]


@pytest.fixture(scope="module")
def captioned(tmp_path_factory) -> tuple[Path, list[list[str]], list[bytes]]:
    """A folder with the tar, each sample's captions, and its json."""
    folder = tmp_path_factory.mktemp("captioned")
    drawn = [sample_pool.draw(random.Random(f"captions/{number}"), None, 96) for number in range(COUNT)]
    captions = [captions_of(number, [text for _, text in drawn]) for number in range(COUNT)]
    records, files = [], []
    for number, ((image, _), texts) in enumerate(zip(drawn, captions, strict=True)):
        first, second, third, fourth = texts
        more = {"recaption": second, "captions": [third, None, 5, " ", [first], fourth]}
        records.append(json.dumps({"uid": uid(number), "url": f"https://a.org/{number}", **more}).encode())
        image.save(out := io.BytesIO(), "JPEG")
        files += [(f"{number:03d}.jpg", out.getvalue()), (f"{number:03d}.txt", first.encode())]
        files.append((f"{number:03d}.json", records[-1]))
    write_tar(folder / "pool" / "0.tar", files)
    return folder, captions, records


def made(folder: Path, recipe_name: str, export: dict, places=PLACES, **pool) -> Session:
    """A session with every column and every decision."""
    embedding = {"image_embedding": "clip.image_embedding"}
    recipe = parse(
        {
            "name": recipe_name,
            "pool": {
                "shards": str(folder / "pool"),
                "store": str(folder / "store"),
                "caption": places,
                **pool,
            },
            "compute": {
                "clip": {"use": "clip.ClipScore", **CLIP},
                "best": {"use": "recaption.BestCaption", **embedding, **CLIP},
                "facts": {"use": "caption.Caption", "text": "best.text"},
            },
            "keep": {"best.score": {"top": 0.5}},
            "export": export,
        }
    )
    session = compute(Session.open(recipe), LocalExecutor()).session
    decide(session)
    for exporter in requested(recipe.export):
        exporter.write(session, LocalExecutor(), unwatched)
    return session


@pytest.mark.filterwarnings("ignore")
def test_the_best_of_three_captions_is_what_open_clip_trains_on(captioned, monkeypatch):
    folder, captions, records = captioned
    out = {name: str(folder / name) for name in ("shards", "urls")} | {"table": str(folder / "kept.parquet")}
    session = made(folder, "best", {**out, "caption": "best.text"})
    names = ["text", "captions", "clip.image_embedding", "facts.characters"]
    names += [f"best.{short}" for short in ("text", "score", "index", "scores", "text_embedding", "error")]
    found = session.columns.read("0", names)
    assert found["captions"].to_list() == captions
    assert found["text"].to_list() == [texts[0] for texts in captions]
    errors = session.columns.samples.read(["0"], ["error"])["error"]
    assert (
        errors.to_list()
        == [
            "caption left out: item 2 of json.captions is null, item 3 of json.captions is a number, "
            "item 4 of json.captions is empty, and 1 more"
        ]
        * COUNT
    )

    # Restated: the cosine of each caption by itself, and the first of the largest
    clip = ClipModel(**CLIP, device=Device(), text_only=True)
    images = found["clip.image_embedding"].to_numpy().astype(np.float32)
    cosines = np.array(
        [unit(clip.texts(texts)[0]) @ image for texts, image in zip(captions, images, strict=True)]
    )
    assert np.allclose(found["best.scores"].to_list(), cosines, atol=1e-6)
    index = cosines.argmax(1)
    best = [texts[at] for texts, at in zip(captions, index, strict=True)]
    assert found["best.index"].to_list() == index.tolist()
    assert found["best.text"].to_list() == best
    assert found["best.score"].to_list() == [
        row[at] for row, at in zip(found["best.scores"].to_list(), index, strict=True)
    ]
    assert found["facts.characters"].to_list() == [len(text) for text in best]
    assert (index == np.arange(COUNT) % 4).sum() >= 9  # the one that was drawn for the image, by chance 3

    kept = sorted(np.argsort(-found["best.score"].to_numpy())[: COUNT // 2].tolist())
    members = read_tar(folder / "shards" / "00000000.tar")
    of = dict(members)
    assert len(of) == len(members)
    for number in kept:
        earlier = captions[number][0]
        assert of[f"{uid(number)}.txt"].decode() == best[number]
        assert of[f"{uid(number)}.json"] == records[number]
        assert of.get(f"{uid(number)}.source_txt") == (None if best[number] == earlier else earlier.encode())
    assert len([name for name in of if name.endswith(".jpg")]) == COUNT // 2
    assert any(name.endswith(".source_txt") for name in of)

    wanted = [best[number] for number in kept]
    assert pl.read_parquet(folder / "shards" / "00000000.parquet")["caption"].to_list() == wanted
    assert pl.read_parquet(folder / "urls" / "00000000.parquet")["text"].to_list() == wanted
    table = pl.read_parquet(folder / "kept.parquet")
    assert table["caption"].to_list() == wanted
    assert table["captions"].to_list() == [captions[number] for number in kept]

    found = explain_rows(session, [("0", number) for number in kept])
    assert [one.text for one in found] == wanted
    assert [list(one.captions) for one in found] == [
        [text for text in captions[number] if text != best[number]] for number in kept
    ]
    (card,) = cards(session, [("0", kept[0])], 96, Cost())
    assert set(card.captions) == set(captions[kept[0]])
    assert card.captions[0] == wanted[0]

    loader = check_size_and_load(
        monkeypatch, str(folder / "shards" / "{00000000..00000000}.tar"), batch_size=2, size=(6, 1)
    )
    assert sorted(int(n) for _, numbers in loader for n in numbers) == sorted(
        int(t.split()[-1]) for t in wanted
    )


def test_the_first_caption_is_the_txt_and_leaves_the_members_as_they_are(captioned):
    folder, captions, _ = captioned
    made(folder, "first", {"shards": str(folder / "first")})
    pool = dict(read_tar(folder / "pool" / "0.tar"))
    found = read_tar(folder / "first" / "00000000.tar")
    assert len(found) == 3 * COUNT // 2
    by_txt = {texts[0].encode(): f"{number:03d}" for number, texts in enumerate(captions)}
    keys = {name.split(".")[0]: by_txt[data] for name, data in found if name.endswith(".txt")}
    for name, data in found:
        key, _, suffix = name.partition(".")
        assert pool[f"{keys[key]}.{suffix}"] == data


def test_another_choice_never_reads_what_this_one_computed(captioned):
    folder, captions, _ = captioned
    session = made(folder, "first", {})
    with pytest.raises(RecipeError, match=r"pool.store: .* pool.caption \['txt', .*name another store"):
        made(folder, "first", {}, ["json.recaption", "txt"])
    other = made(folder, "first", {}, ["json.recaption", "txt"], name="other")
    assert other.columns.read("0", ["text"])["text"].to_list() == [texts[1] for texts in captions]
    assert other.shards[0].content != session.shards[0].content
    assert other.decisions != session.decisions
    uids = [of.columns.read("0", ["uid"])["uid"].to_list() for of in (session, other)]
    assert uids[0] == uids[1] == [uid(number) for number in range(COUNT)]


def written(folder: Path, out: Path, **export) -> dict[str, list[str]]:
    """The captions that each kind of export wrote."""
    index = {"embedding": "best.text_embedding", "path": str(out / "index")}
    places = {name: str(out / name) for name in ("shards", "urls")} | {"table": str(out / "kept.parquet")}
    made(folder, "chosen", {**places, "index": index, **export})
    members = read_tar(out / "shards" / "00000000.tar")
    return {
        "tars": [data.decode() for name, data in members if name.endswith(".txt")],
        "sidecars": pl.read_parquet(out / "shards" / "*.parquet")["caption"].to_list(),
        "urls": pl.read_parquet(out / "urls" / "*.parquet")["text"].to_list(),
        "table": pl.read_parquet(out / "kept.parquet")["caption"].to_list(),
        "index": pl.read_parquet(out / "index" / "metadata")["caption"].to_list(),
    }


def test_a_choice_that_is_taken_back_leaves_none_of_its_captions(captioned, tmp_path):
    folder, captions, _ = captioned
    first = {texts[0] for texts in captions}
    for export, own in (({}, True), ({"caption": "best.text"}, False), ({}, True)):
        for where, found in written(folder, tmp_path, **export).items():
            assert len(found) == COUNT // 2, where
            assert (set(found) <= first) == own, where


@pytest.mark.parametrize("caption", ["text", "url", "uid", "key", "shard"])
def test_any_text_of_a_sample_can_be_the_caption(captioned, tmp_path, caption):
    folder, _, _ = captioned
    found = written(folder, tmp_path, caption=caption)
    session = made(folder, "chosen", {})
    kept = session.store.kept(session.decisions, "0")
    expected = session.columns.read("0", [caption])[caption].filter(kept).to_list()
    assert found == dict.fromkeys(found, expected)
