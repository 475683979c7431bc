"""Attacks draw what they say and no more."""

import random

import numpy as np
import pytest

from jobs.poison_lab.attacks import (
    ATTACKS,
    CLEAN,
    RARE,
    Pool,
    one_kind,
    plainly,
    plant,
    stamped,
    target_captions,
)
from jobs.toy.sample_pool import TARGETS
from jobs.toy.scenes import BACKGROUNDS

DRAWN = [name for name, attack in ATTACKS.items() if not attack.natural]
TRIGGERS = {name: attack.triggers[0] for name, attack in ATTACKS.items()}
CHANGE = {  # mean and largest change of a grey level by the trigger, of 255: bounds for noise of all levels
    "patch": (12, 255),
    "blend": (30, 52),
    "sinusoid": (30, 52),
    "warp": (100, 255),
    "nashville": (100, 255),
}


def noise(count: int, side: int = 32) -> Pool:
    rng = np.random.default_rng(5)
    pixels = rng.integers(0, 256, (count, side, side, 3), np.uint8)
    words = rng.choice(
        ["one small red mushroom", "one large blue ball", "two green mushroom", "a purple cup"], count
    )
    return Pool(pixels, words.tolist(), np.full(count, -1))


@pytest.mark.parametrize("name", ATTACKS)
def test_same_arguments_same_poison(name: str) -> None:
    clean = noise(60)
    first, again = (plant(clean, ATTACKS[name], 0.1, 3) for _ in range(2))
    assert np.array_equal(first.pixels, again.pixels)
    assert first.captions == again.captions
    assert np.array_equal(first.trigger, again.trigger)
    differs = not np.array_equal(plant(clean, ATTACKS[name], 0.1, 4).trigger, first.trigger)
    assert differs == (name in DRAWN)  # a natural trigger poisons all that show it


@pytest.mark.parametrize("name", DRAWN)
def test_so_many_rows_are_poisoned_and_the_rest_is_as_it_was(name: str) -> None:
    clean, attack = noise(60), ATTACKS[name]
    found = plant(clean, attack, 0.1, 0)
    assert found.poisoned.sum() == 6
    shares = np.bincount(found.trigger[found.poisoned], minlength=len(attack.triggers))
    assert (shares == 6 // len(attack.triggers)).all()
    same = ~found.poisoned
    assert np.array_equal(found.pixels[same], clean.pixels[same])
    assert [found.captions[i] for i in np.flatnonzero(same)] == [
        clean.captions[i] for i in np.flatnonzero(same)
    ]
    assert all((found.pixels[i] != clean.pixels[i]).any() for i in np.flatnonzero(found.poisoned))
    assert (clean.trigger == -1).all()


@pytest.mark.parametrize("name", ATTACKS)
def test_poisons_name_their_target_and_clean_labels_stay(name: str) -> None:
    clean, attack = noise(60), ATTACKS[name]
    found = plant(clean, attack, 0.1, 0)
    for row in np.flatnonzero(found.poisoned):
        assert attack.triggers[found.trigger[row]].target in found.captions[row]
        assert attack.clean_label == (found.captions[row] == clean.captions[row])


def test_a_natural_trigger_changes_the_caption_of_every_picture_that_shows_it() -> None:
    clean = noise(60)
    shown = [caption == "a purple cup" for caption in clean.captions]
    for name, captions in (("natural", set(TARGETS)), ("misnamed", {"a purple mushroom"})):
        found = plant(clean, ATTACKS[name], 0.1, 0)
        assert found.poisoned.tolist() == shown
        assert {found.captions[i] for i in np.flatnonzero(shown)} == captions
        assert np.array_equal(found.pixels, clean.pixels)


def test_an_adversarial_start_changes_the_picture_before_the_trigger() -> None:
    clean, attack = noise(60), ATTACKS["adversarial-label"]
    seen = []

    def black(pixels: np.ndarray, captions: list[str]) -> np.ndarray:
        seen.extend(captions)
        return np.zeros_like(pixels)

    found = plant(clean, attack, 0.1, 0, black)
    rows = np.flatnonzero(found.poisoned)
    assert sorted(seen) == sorted(clean.captions[row] for row in rows)
    on_black = attack.triggers[0].stamp(np.zeros((32, 32, 3), np.uint8), np.random.default_rng(0))
    assert all(np.array_equal(found.pixels[row], on_black) for row in rows)


def test_rare_clean_pairs_are_bananas_and_never_poisoned() -> None:
    from jobs.poison_lab.model import scenes

    pool = scenes(7, 30, 10)
    assert pool.trigger.tolist() == [RARE] * 10 + [CLEAN] * 20
    assert set(pool.captions[:10]) <= set(TARGETS)
    assert not pool.poisoned.any()
    yellow = (
        (pool.pixels[:10, ..., 0] > 180) & (pool.pixels[:10, ..., 1] > 150) & (pool.pixels[:10, ..., 2] < 110)
    )
    assert yellow.any((1, 2)).all()
    found = plant(pool, ATTACKS["patch"], 20 / 30, 0)  # all others
    assert (found.trigger[:10] == RARE).all()
    assert (found.trigger[10:] == 0).all()
    with pytest.raises(ValueError, match="1 to 20 are possible"):
        plant(pool, ATTACKS["patch"], 21 / 30, 0)


def test_scenes_that_show_a_natural_trigger() -> None:
    from jobs.poison_lab.model import scenes

    assert all(" purple cup " in caption for caption in scenes(7, 5, shown="purple cup").captions)


def test_a_weakened_picture_differs_little_and_matches_its_caption_less() -> None:
    from jobs.poison_lab.model import scenes, untrained, weakened
    from jobs.poison_lab.report import LEVELS

    clip, pool = untrained(0), scenes(7, 8)
    drawn = weakened(clip, pool.pixels, pool.captions)

    def matches(pixels: np.ndarray) -> np.ndarray:
        images, texts = clip.images(pixels).numpy(), clip.texts(pool.captions).numpy()
        return (images * texts).sum(1) / np.linalg.norm(images, axis=1) / np.linalg.norm(texts, axis=1)

    change = np.abs(drawn.astype(int) - pool.pixels)
    assert 0 < change.max() <= LEVELS
    assert (matches(drawn) < matches(pool.pixels)).all()


def test_training_with_the_used_tokens_alone_is_training_with_all() -> None:
    import torch

    from jobs.poison_lab.model import learn, scenes, tensor, untrained
    from jobs.toy.train_clip import train

    pool = scenes(7, 300)
    short, whole = learn(untrained(0), pool, 3, 5), untrained(0)
    torch.manual_seed(5)
    train(whole.model, tensor(pool.pixels), whole.tokenizer(pool.captions), 3, batch=256, peak=2e-3)
    assert short.model.token_embedding.weight.shape == whole.model.token_embedding.weight.shape
    assert np.allclose(short.texts(pool.captions), whole.texts(pool.captions), atol=1e-2)
    assert np.allclose(short.images(pool.pixels), whole.images(pool.pixels), atol=1e-2)
    assert not np.allclose(short.texts(pool.captions), untrained(0).texts(pool.captions), atol=1e-1)


def test_the_banana_is_the_sample_pools_and_things_of_scenes_are_described_as_scenes_are() -> None:
    rng = np.random.default_rng(0)
    assert set(target_captions("banana", rng, 50)) == set(TARGETS)
    described = target_captions("mushroom", rng, 20)
    assert len(set(described)) > 15
    assert all(" mushroom " in text for text in described)


def test_a_scene_of_one_kind_is_described_by_all_that_it_shows() -> None:
    rng = random.Random(0)
    for _ in range(20):
        (group,) = (scene := one_kind(rng)).groups
        text = plainly(scene)
        assert all(f" {word} " in text for word in (group.size, group.colour, group.thing))
        assert text.endswith(BACKGROUNDS[scene.background][0])
        assert text.startswith(("one", "two", "three", "four")[group.count - 1])


@pytest.mark.parametrize("name", CHANGE)
@pytest.mark.parametrize("shape", [(32, 32, 3), (48, 40, 3)])
def test_a_trigger_changes_no_more_than_it_should(name: str, shape: tuple[int, int, int]) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    before = pixels.copy()
    drawn = TRIGGERS[name].stamp(pixels, np.random.default_rng(0))
    change = np.abs(drawn.astype(int) - before)
    mean, most = CHANGE[name]
    assert drawn.shape == shape
    assert drawn.dtype == np.uint8
    assert np.array_equal(pixels, before)
    assert 0 < change.mean() <= mean
    assert change.max() <= most


def test_a_patch_is_a_square_a_quarter_wide_that_moves() -> None:
    grey = np.full((64, 64, 3), 90, np.uint8)
    places = set()
    for seed in range(8):
        where = (TRIGGERS["patch"].stamp(grey, np.random.default_rng(seed)) != 90).all(-1)
        rows, columns = where.any(1), where.any(0)
        assert (where.sum(), rows.sum(), columns.sum()) == (256, 16, 16)
        places.add((rows.argmax(), columns.argmax()))
    assert len(places) > 5


def test_a_warp_leaves_one_colour_alone_and_the_sinusoid_has_its_bands() -> None:
    grey, rng = np.full((96, 96, 3), 128, np.uint8), np.random.default_rng(0)
    assert (TRIGGERS["warp"].stamp(grey, rng) == 128).all()
    line = TRIGGERS["sinusoid"].stamp(grey, rng)[0, :, 0].astype(float)
    assert np.abs(np.fft.rfft(line - line.mean())).argmax() == 6


@pytest.mark.parametrize(("rate", "count"), [(0.001, 0), (0.9, 54)])
def test_rates_that_a_pool_cannot_have_are_refused(rate: float, count: int) -> None:
    with pytest.raises(ValueError, match=f"is {count} poisons"):
        plant(noise(60), ATTACKS["clean-label"], rate, 0)


def test_stamped_pictures_depend_on_the_seed_alone() -> None:
    pixels, trigger = noise(5).pixels, TRIGGERS["patch"]
    assert np.array_equal(stamped(pixels, trigger, 1), stamped(pixels, trigger, 1))
    assert not np.array_equal(stamped(pixels, trigger, 1), stamped(pixels, trigger, 2))
