"""CLIPCov: the picks of the released notebook, exact greedy picks, and zero-shot classes."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from operators.algorithms.clip.model import unit
from operators.algorithms.embeddings.cover import Class, Weights, exact, released
from operators.clipcov import Cover
from tests.support.groups import run_group
from tests.support.samples import samples

FIELDS = {"image_embedding": "c.i", "text_embedding": "c.t", "label": "k.label"}


def at(*angles: float) -> np.ndarray:
    """Unit vectors at these angles, in degrees."""
    turned = np.radians(angles)
    return np.stack([np.cos(turned), np.sin(turned)], 1).astype(np.float32)


IMAGES, TEXTS = at(0, 5, 20, 60, 90, 100), at(10, 15, 20, 30, 95, 170)
LABELS = np.array([0, 0, 0, 1, 1, 1])
FIT = (TEXTS * at(10, 95)[LABELS]).sum(1)


def frame(images=IMAGES, texts=TEXTS, labels=LABELS, fit=FIT) -> pl.DataFrame:
    count = len(images)
    return samples(count, uid=[f"{row:032x}" for row in range(count)]).with_columns(
        pl.Series("c.i", images),
        pl.Series("c.t", texts),
        pl.Series("k.label", labels, pl.Int32),
        pl.Series("k.caption_similarity", fit, pl.Float32),
    )


def ran(rows: pl.DataFrame, **fields) -> pl.DataFrame:
    return run_group(Cover(**{**FIELDS, **fields}), rows)


def best(gain: pl.Series, count: int) -> list[int]:
    return np.argsort(-gain.to_numpy(), kind="stable")[:count].tolist()


@pytest.mark.parametrize(("refresh", "picks"), [(200, [2, 0, 1, 4]), (2, [2, 4, 0, 1]), (1, [2, 4, 0, 3])])
def test_the_picks_of_the_notebook(refresh, picks):
    """See GOLDENS.md. Both classes are ranked apart; the highest gains are the picks of one greedy choice."""
    found = ran(frame(), label_similarity="k.caption_similarity", compat="released", refresh=refresh)
    assert best(found["gain"], 4) == picks


def test_values_before_any_pick():
    found = ran(frame(), label_similarity="k.caption_similarity", compat="released")
    expected = [2.456200, 2.454319, 2.479134, 1.680869, 2.013885, 0.486244]
    assert found["gain"].to_list() == pytest.approx(expected, abs=1e-6)
    assert found["order"].to_list() == [2, 3, 1, 2, 1, 3]


def test_exact_picks_of_one_class():
    found = ran(frame(labels=[7] * 6), label_weight=0, centre_weight=0)
    assert best(found["gain"], 4) == [2, 4, 1, 0]
    assert found["order"].to_list() == [4, 3, 1, 5, 2, 6]


def cone(count: int, seed: int) -> Class:
    """Random vectors without a negative cosine."""
    rng = np.random.default_rng(seed)
    images, texts = unit(np.abs(rng.normal(size=(2 * count, 4))).astype(np.float32)).reshape(2, count, 4)
    return Class(images, texts, rng.random(count))


def greedy(samples: Class, weights: Weights) -> tuple[list[int], list[float]]:
    """Every value worked out anew before every pick, from the definition."""
    count = len(samples.images)
    cosines = samples.images.astype(float) @ samples.texts.astype(float).T
    both = (cosines + cosines.T) / count
    means = [v.mean(0) / np.linalg.norm(v.mean(0)) for v in (samples.images, samples.texts)]
    centres = samples.texts @ means[0] + samples.images @ means[1]
    values = both.sum(1) + weights.pair * np.diag(cosines) + weights.label * samples.labels
    values -= weights.centre * centres
    off = (both.sum(1) + weights.label * samples.labels) / count
    picks, gains = [], []
    while len(picks) < count:
        now = values - both[:, picks].sum(1)
        now[picks] = -np.inf
        picks.append(int(now.argmax()))
        gains.append(float(now.max() - off[picks[:-1]].sum()))
    return picks, gains


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_lazy_picks_are_greedy_and_gains_never_rise(count, seed):
    samples, weights = cone(count, seed), Weights(2, 0.5, 1)
    picks, gains = greedy(samples, weights)
    found = exact(samples, weights, count)
    assert np.diff(gains).max(initial=-1) < 1e-9
    assert found.gain[picks] == pytest.approx(gains, abs=1e-6)
    assert np.abs(np.sort(-found.gain) + np.sort(gains)[::-1]).max() < 1e-6
    some = exact(samples, weights, -(-count // 3))
    taken = some.order > 0
    assert some.order[taken].tolist() == found.order[taken].tolist()
    assert some.gain[taken].tolist() == found.gain[taken].tolist()
    assert (some.gain[~taken] >= found.gain[~taken] - 1e-9).all()
    assert some.gain[~taken].max(initial=-9) <= some.gain[taken].min()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 25), min_size=1, max_size=4), st.integers(0, 2**32 - 1), st.integers(1, 5))
def test_the_highest_gains_are_the_picks_of_one_greedy_choice(sizes, seed, refresh):
    """The notebook's one list over all classes, beside classes that are ranked apart. Labels may be
    negative, so that values rise."""
    weights = Weights(2, 0.5, 1)
    classes = [cone(size, seed + number) for number, size in enumerate(sizes)]
    classes = [c._replace(labels=c.labels - 0.5) for c in classes]
    apart = np.concatenate([released(c, weights, len(c.images), refresh).gain for c in classes])
    together = one_list(classes, weights, refresh)
    for budget in range(1, len(apart) + 1):
        cut = np.sort(apart)[::-1][budget - 1]
        if budget == len(apart) or np.sort(apart)[::-1][budget] < cut:
            assert set(np.flatnonzero(apart >= cut)) == set(together[:budget])


def one_list(classes: list[Class], weights: Weights, refresh: int) -> list[int]:
    """The notebook's rule, see GOLDENS.md: pop the best of all; lower its class when its counter says so."""
    values, parts, state = [], [], []
    for own in classes:
        cosines = np.maximum(own.images @ own.texts.T, 0).astype(float)
        both = (cosines + cosines.T) / len(cosines)
        first = released(own, weights, len(cosines), 10**6).gain
        values.append(first)
        parts.append((both, both.sum(1), weights.label * own.labels))
        state.append(([], []))
    starts = np.cumsum([0, *map(len, values)])
    order = []
    while len(order) < starts[-1]:
        tops = [v.max() for v in values]
        number = int(np.argmax(tops))
        own, (both, coverage, fit), (chosen, new) = values[number], parts[number], state[number]
        pick = int(own.argmax())
        order.append(int(starts[number] + pick))
        chosen.append(pick)
        new.append(pick)
        own[pick] = -np.inf
        if (len(chosen) + 1) % refresh == 0:
            own -= both[:, new].sum(1) + (coverage[chosen].sum() + fit[new].sum()) / len(own)
            new.clear()
    return order


def test_samples_beyond_the_share_have_no_order():
    found = ran(frame(), label_similarity="k.caption_similarity", share=0.4)
    assert found["order"].to_list() == [2, None, 1, 2, 1, None]
    assert found["gain"].null_count() == 0


def test_bad_rows_have_a_reason_and_change_nothing():
    images = np.vstack([IMAGES, [[0, 0]], IMAGES[:1]])
    texts = np.vstack([TEXTS, TEXTS[:1], [[np.inf, 0]]])
    rows = frame(images, texts, [*LABELS, 1, 1], [*FIT, 0.5, 0.5])
    found = ran(rows, label_similarity="k.caption_similarity")
    assert found["gain"].to_list() == [
        *ran(frame(), label_similarity="k.caption_similarity")["gain"],
        None,
        None,
    ]
    reasons = Cover(**FIELDS).group(rows[6:])["error"].to_list()
    assert reasons == ["a zero vector has no direction", "the embedding is not finite"]


def test_a_period_without_effect_is_refused():
    with pytest.raises(ValidationError, match="must not have `refresh` unless `compat` is released"):
        Cover(**FIELDS, refresh=2)
