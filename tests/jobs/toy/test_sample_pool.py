"""The sample pool: same bytes for same arguments, every defect as named, and the demo's CLIP."""

import hashlib
import io
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import webdataset
from PIL import Image, UnidentifiedImageError

from jobs.toy.sample_pool import (
    FORMATS,
    SHARES,
    SIGNS,
    STOCK,
    TARGETS,
    checkerboard,
    letter,
    make_pool,
    make_sample,
)
from jobs.toy.scenes import BACKGROUNDS, texture

MODELS = Path(__file__).parents[3] / "jobs" / "toy" / "models"
TINY = 48  # pixels: thousands of samples a second, and text and patches are still drawn
UNREADABLE = {"corrupt_jpeg", "truncated_jpeg"}


def picture(sample: dict[str, Any]) -> bytes:
    return next(sample[kind] for kind in FORMATS if kind in sample)


def pixels(sample: dict[str, Any]) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(picture(sample))).convert("RGB")).astype(int)


@pytest.fixture(scope="module")
def pool() -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """4000 samples of two shards, each with its json."""
    samples = [make_sample(0, shard, i, TINY) for shard in range(2) for i in range(2000)]
    return [(sample, orjson.loads(sample["json"])) for sample in samples]


@pytest.fixture(scope="module")
def large() -> dict[str | None, list[dict[str, Any]]]:
    """Samples of 320 pixels by defect, a few of each."""
    names = {i: orjson.loads(make_sample(1, 0, i, 16)["json"])["planted"] for i in range(900)}
    firsts: dict[str | None, list[dict[str, Any]]] = {}
    for i, name in names.items():
        if len(firsts.setdefault(name, [])) < 3:
            firsts[name].append(make_sample(1, 0, i))
    return firsts


def test_same_arguments_same_bytes(tmp_path: Path) -> None:
    first = make_pool(tmp_path / "a", shards=2, per_shard=40, seed=3, image_size=TINY)
    again = make_pool(str(tmp_path / "b"), 2, 40, 3, TINY, workers=2)
    assert [path.name for path in first] == ["00000.tar", "00001.tar"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in again]
    assert first[0].read_bytes() != first[1].read_bytes()
    other = make_pool(tmp_path / "c", 1, 40, 4, TINY)
    assert other[0].read_bytes() != first[0].read_bytes()


def test_a_shard_does_not_depend_on_how_many_are_made(tmp_path: Path) -> None:
    few = make_pool(tmp_path / "few", shards=1, per_shard=30, image_size=TINY)
    many = make_pool(tmp_path / "many", shards=3, per_shard=30, image_size=TINY)
    assert few[0].read_bytes() == many[0].read_bytes()


def test_nothing_but_whole_tars_is_left_behind(tmp_path: Path) -> None:
    make_pool(tmp_path, shards=1, per_shard=3, image_size=TINY)
    assert [path.name for path in tmp_path.iterdir()] == ["00000.tar"]


@pytest.mark.parametrize(("shards", "per_shard"), [(0, 1), (1, 0), (1, 10_001), (100_001, 1)])
def test_sizes_that_nine_digit_keys_cannot_hold_are_refused(shards: int, per_shard: int) -> None:
    with pytest.raises(ValueError, match=f"got {shards} of {per_shard}"):
        make_pool("unused", shards, per_shard)


def test_keys_uids_and_records_are_img2datasets(pool: list[Any]) -> None:
    assert pool[5][0]["__key__"] == "000000005"
    assert pool[2005][0]["__key__"] == "000010005"
    assert len({record["uid"] for _, record in pool}) == len(pool)
    assert len({record["url"] for _, record in pool}) == len(pool)
    for sample, record in pool:
        text = record["caption"] or ""
        assert record["uid"] == hashlib.md5((text + record["url"]).encode()).hexdigest()
        assert record["sha256"] == hashlib.sha256(picture(sample)).hexdigest()
        assert record["key"] == sample["__key__"]
        assert (record["status"], record["error_message"]) == ("success", None)
        assert record["exif"] == "{}"
        assert record["url"].startswith("https://example.org/")
        assert (record["width"], record["height"]) == (
            record["original_width"],
            record["original_height"],
        )


def test_planted_shares_are_those_announced(pool: list[Any]) -> None:
    counts = Counter(record["planted"] for _, record in pool)
    assert set(counts) == {None, *SHARES}
    assert 0.3 <= sum(SHARES.values()) <= 0.38
    for name, share in SHARES.items():
        spread = (len(pool) * share * (1 - share)) ** 0.5
        assert abs(counts[name] - len(pool) * share) < 4 * spread, name


def test_the_name_of_a_defect_shows_only_in_planted(pool: list[Any]) -> None:
    for sample, record in pool:
        if name := record["planted"]:
            seen = [record["caption"] or "", record["url"], sample.get("txt", b"").decode()]
            assert not any(name in text for text in seen)


def test_every_picture_that_should_decodes_to_its_recorded_size(pool: list[Any]) -> None:
    for sample, record in pool:
        if record["planted"] not in UNREADABLE:
            assert pixels(sample).shape == (record["height"], record["width"], 3)


def test_formats_are_mostly_jpeg_with_some_png_and_webp(pool: list[Any]) -> None:
    kinds = Counter(Image.open(io.BytesIO(picture(s))).format for s, r in pool if not r["planted"])
    assert set(kinds) == {"JPEG", "PNG", "WEBP"}
    assert kinds["JPEG"] > 0.9 * kinds.total()
    assert min(kinds.values()) > 0.02 * kinds.total()


@pytest.mark.parametrize("planted", sorted(UNREADABLE))
def test_damaged_jpegs_fail_to_load(pool: list[Any], planted: str) -> None:
    found = [sample for sample, record in pool if record["planted"] == planted]
    for sample in found:
        assert sample["jpg"][:3] == b"\xff\xd8\xff"
        with pytest.raises((OSError, UnidentifiedImageError)):
            Image.open(io.BytesIO(sample["jpg"])).load()
    assert len(found) > 10


def test_truncated_jpegs_still_say_their_size(large: dict[str | None, list[Any]]) -> None:
    for sample in large["truncated_jpeg"]:
        record = orjson.loads(sample["json"])
        assert Image.open(io.BytesIO(sample["jpg"])).size == (record["width"], record["height"])


def test_captions_that_are_empty_missing_or_stock(pool: list[Any]) -> None:
    by_name: dict[str | None, list[Any]] = {}
    for sample, record in pool:
        by_name.setdefault(record["planted"], []).append((sample, record["caption"]))
    texts = {sample["txt"] for sample, _ in by_name["empty_caption"]}
    assert texts == {b"", b"   "}
    assert {c for _, c in by_name["empty_caption"]} == {""}
    assert all("txt" not in s and c is None for s, c in by_name["missing_caption"])
    assert {c for _, c in by_name["boilerplate_caption"]} == set(STOCK)
    assert all(sum(letter.isdigit() for letter in c) >= 2 for _, c in by_name["number_padding"])
    clean = [sample["txt"].decode() == caption != "" for sample, caption in by_name[None]]
    assert all(clean)
    assert len({caption for _, caption in by_name[None]}) > 0.98 * len(clean)


def test_small_and_narrow_pictures_are_so_and_no_others(large: dict[str | None, list[Any]]) -> None:
    for name, samples in large.items():
        for sample in samples:
            record = orjson.loads(sample["json"])
            short, long = sorted((record["width"], record["height"]))
            assert (long <= 30) == (name == "small_image")
            assert (long / short > 5) == (name == "narrow_image")
            assert name in ("small_image", "narrow_image") or long <= 3 * short


def test_poison_carries_the_patch_and_a_target_caption(large: dict[str | None, list[Any]]) -> None:
    for sample in large["poisoned"]:
        image, record = pixels(sample), orjson.loads(sample["json"])
        assert record["caption"] in TARGETS
        side = min(record["width"], record["height"]) // 8
        patch = np.asarray(checkerboard(side)).astype(int)
        rows, columns = image.shape[0] - side + 1, image.shape[1] - side + 1
        errors = [
            np.abs(image[y : y + side, x : x + side] - patch).mean()
            for y in range(rows)
            for x in range(columns)
        ]
        assert min(errors) < 20  # of 255; JPEG blurs the edges of the cells


@pytest.mark.parametrize("kind", ["near_duplicate", "rescaled_copy"])
def test_a_copy_follows_its_original(large: dict[str | None, list[Any]], kind: str) -> None:
    for sample in large[kind]:
        record = orjson.loads(sample["json"])
        twin = make_sample(1, 0, int(record["duplicate_of"][5:]))
        original = orjson.loads(twin["json"])
        assert original["key"] < record["key"]
        assert original["planted"] is None
        assert original["caption"] == record["caption"]
        assert original["uid"] != record["uid"]
        assert original["sha256"] != record["sha256"]
        coarse = [
            np.asarray(Image.open(io.BytesIO(picture(one))).convert("RGB").resize((8, 8))).ravel()
            for one in (sample, twin)
        ]
        assert np.corrcoef(*coarse)[0, 1] > 0.8


def test_letters_fill_their_panel_and_leave_the_rest_alone() -> None:
    blank = Image.new("RGB", (320, 240), "red")
    card = np.asarray(letter(blank, "two words", 0.5, 0, "white"))
    assert (card[130:] == (255, 0, 0)).all()
    dark = (card[:110].max(-1) < 80).mean()
    assert 0.04 < dark < 0.4
    for text in SIGNS:
        assert not np.array_equal(np.asarray(letter(blank, text, 0.2, 1, "gold")), np.asarray(blank))


def test_backgrounds_are_all_different() -> None:
    shown = {texture(name, 0, 64).tobytes() for name in BACKGROUNDS}
    assert len(shown) == len(BACKGROUNDS)


def test_webdataset_reads_the_pool(tmp_path: Path) -> None:
    (path,) = make_pool(tmp_path, shards=1, per_shard=60, image_size=TINY)
    samples = list(webdataset.WebDataset(str(path), shardshuffle=False))
    assert [sample["__key__"] for sample in samples] == [f"{i:09d}" for i in range(60)]
    assert samples[7]["json"] == make_sample(0, 0, 7, TINY)["json"]
    with tarfile.open(path) as tar:
        assert {member.mtime for member in tar} == {0}


def test_the_checkpoint_tells_matched_from_shuffled_captions() -> None:
    open_clip = pytest.importorskip("open_clip", reason="the demo's CLIP needs open_clip")
    from jobs.toy.scene_clip import build, examples, measure

    weights = MODELS / "scene_clip.safetensors"
    assert weights.stat().st_size < 10_000_000
    assert open_clip.__version__
    model, preprocess, tokenizer = build(MODELS, weights)
    figures = measure(model, tokenizer, examples(preprocess, 30_000, {None}, 300, 0))
    assert figures["scenes"] >= 180
    assert figures["auroc"] >= 0.95
    assert figures["recall"] >= 0.2
