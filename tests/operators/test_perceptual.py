"""Perceptual copies: PDQ beside the released code, pairs by bands, and which samples stay."""

import io
import itertools

import numpy as np
import orjson
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from jobs.toy.sample_pool import make_sample
from operators.algorithms.hamming import Pairs, band_keys, bytes_of, has_key, leaders, near_pairs
from operators.algorithms.pdq import pdq
from operators.pdq import PdqHash
from operators.perceptual import Bands, Copies, Leaders, Neighbours
from pipeline.operator import Device
from pipeline.run.decode import decode
from tests.support.groups import run_group
from tests.support.samples import samples

# --- the hash --------------------------------------------------------------------------------------

# Of pdqhash 0.2.8, which binds ThreatExchange's C++, on these pictures: see GOLDENS.md
RELEASED = {
    (64, 64): ("18a3a0437a1c9a49fca718a0f2ebee0ec3fb61f0d3fbce0edaeb08a0b8a37249", 100),
    (128, 128): ("88a39249dbc5784bbda6b8a29eeb6e0ea3fb61f092db4e0ebaeb00a0b8a3d249", 100),
    (5, 7): ("3b046479c4db9b84c47b5ed09e62812e3b84e47b3b046479c4fb9b84c47b7ed1", 89),
    (300, 421): ("a8a351d1c358424ba8a720a0faeb8e0edbfb71f0dbfb8e0efaeb20a0b8a3d249", 100),
    (513, 200): ("b8a3d04b6ad4aa49f0a320a0baebbe0eabfb61f0abfb9e0ebaeb20a0f0a3c249", 100),
    (1000, 1600): ("d8a31249475ada4bb8a300a0daebae0efbfb21f0dbfb8e0edaeb20a0d8a37249", 100),
}


def noise(height: int, width: int, cells: int = 8) -> np.ndarray:
    """A picture of bilinear noise that depends on its arguments alone."""
    values = np.random.default_rng(cells).integers(0, 256, (cells, cells, 3)).astype(np.float64)
    down, across = (np.linspace(0, cells - 1, size) for size in (height, width))
    rows = np.stack([[np.interp(across, range(cells), row[:, c]) for c in range(3)] for row in values])
    whole = [[np.interp(down, range(cells), rows[:, c, x]) for x in range(width)] for c in range(3)]
    return np.array(whole).transpose(2, 1, 0).astype(np.uint8)


@pytest.mark.parametrize("size", RELEASED)
def test_it_is_the_hash_of_the_released_code(size):
    bits, quality = pdq(noise(*size))
    assert (bits.tobytes().hex(), quality) == RELEASED[size]


def test_a_tall_picture_is_hashed_in_strips(monkeypatch):
    whole = pdq(noise(300, 40))[0]
    monkeypatch.setattr("operators.algorithms.pdq.STRIP", 7)
    assert np.unpackbits(whole ^ pdq(noise(300, 40))[0]).sum() <= 2  # sums are rounded elsewhere


def test_reasons():
    flat = np.full((99, 99, 3), 7, np.uint8)
    found = PdqHash().score(samples(4), [noise(64, 64), None, flat, noise(4, 99)])
    assert found["hash"].is_not_null().to_list() == [True, False, False, False]
    assert found["quality"].to_list()[1:] == [None, 0, 0]
    assert found["cropped"].is_null().to_list() == found["hash"].is_null().to_list()
    assert found["error"].to_list() == [None, None, "quality too low: 0", "picture smaller than 5 pixels"]
    assert PdqHash(least_quality=0).score(samples(1), [flat])["hash"].is_not_null().all()


# --- bands and pairs -------------------------------------------------------------------------------


def flipped(hashes: np.ndarray, counts, seed: int = 0) -> np.ndarray:
    """Each hash with so many other bits."""
    rng = np.random.default_rng(seed)
    bits = np.unpackbits(hashes, axis=1)
    for row, count in zip(bits, counts, strict=True):
        row[rng.permutation(256)[:count]] ^= 1
    return np.packbits(bits, axis=1)


def random_hashes(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 32), np.uint8)


@pytest.mark.parametrize("count", [8, 16, 32])
def test_fewer_bits_than_bands_leave_one_as_it_is(count):
    hashes = random_hashes(200)
    near = flipped(hashes, [count - 1] * 200)
    same = band_keys(hashes, count) == band_keys(near, count)
    assert same.any(1).all()
    assert same.shape == (200, count)
    keys = band_keys(hashes, count)
    assert (keys >> np.uint64(48) == np.arange(count) + (count << 8)).all()
    assert has_key(hashes, keys[:, count - 1]).all()
    assert not has_key(hashes, np.roll(keys[:, 3], 1)).all()


def test_bands_of_the_best_only():
    hashes = [bytes(32), b"\xff" * 32, None, bytes(32)]
    frame = samples(4).with_columns(
        pl.Series("p.hash", hashes, pl.Binary), pl.Series("e.rank", [1, 1, None, 2], pl.UInt32)
    )
    found = Bands(hash="p.hash", rank="e.rank").score(frame)["bands"]
    assert found[0].to_list() == [(16 << 8) + band << 48 for band in range(16)]
    assert found[1].to_list() == [((16 << 8) + band << 48) + 0xFFFF for band in range(16)]
    assert found[2] is None
    assert found[3] is None
    assert Bands(hash="p.hash").score(frame)["bands"].null_count() == 1
    with pytest.raises(ValueError, match="a hash must have 32 bytes"):
        bytes_of(pl.Series([b"short"]))


@pytest.mark.parametrize(("few", "block"), [(64, 256), (1, 7)])
def test_pairs_beside_all_distances(few, block, monkeypatch):
    """Small groups, and groups of FAISS; of each row the three best within the radius."""
    monkeypatch.setattr("operators.algorithms.hamming.FEW", few)
    monkeypatch.setattr("operators.algorithms.hamming.BLOCK", block)
    hashes = flipped(np.repeat(random_hashes(6), 10, 0), np.random.default_rng(1).integers(0, 30, 60))
    groups = [(0, 25), (25, 26), (26, 60)]
    pairs = near_pairs(hashes, groups, 31, 3, 1)
    expected = []
    for start, stop in groups:
        for later in range(start, stop):
            distances = [int(np.unpackbits(hashes[later] ^ hashes[at]).sum()) for at in range(start, later)]
            near = [(later, start + at, d) for at, d in enumerate(distances) if d <= 31]
            expected += near[:3]
    assert sorted(zip(*(column.tolist() for column in pairs), strict=True)) == expected
    assert len(expected) > 30


# --- which stay ------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 12), st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_leaders_are_those_of_one_pass_from_best_to_worst(count, seed, density):
    rng = np.random.default_rng(seed)
    rank = rng.permutation(count)
    found = [
        (
            max(pair, key=lambda node: rank[node]),
            min(pair, key=lambda node: rank[node]),
            int(rng.integers(40)),
        )
        for pair in itertools.combinations(range(count), 2)
        if rng.random() < density
    ]
    pairs = Pairs(*np.array(found, np.int64).reshape(-1, 3).T)
    stays: list[int] = []
    for node in np.argsort(rank).tolist():
        if not any(later == node and earlier in stays for later, earlier, _ in found):
            stays.append(node)
    leader, distance = leaders(pairs, count)
    assert np.flatnonzero(leader < 0).tolist() == sorted(stays)
    for node in np.flatnonzero(leader >= 0):
        own = min((d, earlier) for later, earlier, d in found if later == node and earlier in stays)
        assert (distance[node], leader[node]) == own


def test_samples_with_a_band_of_another_hash_and_none_themselves_have_no_neighbours():
    (near, far) = random_hashes(2)
    hashes = [None, near.tobytes(), None, near.tobytes(), far.tobytes()]
    rows = pl.DataFrame({"uid": [f"{n:032x}" for n in range(5)], "hash": hashes, "band": [1] * 5})
    found = Neighbours(hash="hash", bands="band").group(rows)
    assert found.rows() == [([], []), ([], []), ([], []), ([rows["uid"][1]], [0]), ([], [])]
    with pytest.raises(ValueError, match="a hash must have 32 bytes"):
        bytes_of(rows["hash"])


def test_a_circle_of_samples_that_share_a_uid_ends():
    leader, _ = leaders(Pairs(np.array([1, 0]), np.array([0, 1]), np.array([3, 3])), 2)
    assert leader.tolist() == [-1, -1]


def chain() -> pl.DataFrame:
    """A picture, copies 20, 40 and 60 bits away from it in steps of 20, band after band, an equal one, and
    another picture.
    The first has the best score, and so on."""
    first, other = random_hashes(2)
    bits, by_band = np.unpackbits(first), np.arange(256).reshape(2, 16, 8).transpose(1, 0, 2).ravel()
    hashes = [first]
    for step in range(3):
        bits[by_band[step * 20 : step * 20 + 20]] ^= 1
        hashes.append(np.packbits(bits))
    hashes += [first, other]
    return samples(6, uid=[f"{9 - row:032x}" for row in range(6)]).with_columns(
        pl.Series("p.hash", [h.tobytes() for h in hashes]),
        pl.Series("c.score", [0.9, 0.8, 0.7, 0.6, 0.5, 0.4]),
        pl.Series("e.first", [None, None, None, None, f"{9:032x}", None]),
        pl.Series("e.rank", [1, 1, 1, 1, 2, 1], pl.UInt32),
    )


def copies(frame: pl.DataFrame, count: int = 16, **fields) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Columns of Neighbours and of Copies."""
    hashes = {"hash": "p.hash", "cropped": "p.cropped" if "p.cropped" in frame.columns else ""}
    bands = Bands(rank="e.rank", count=count, **hashes).score(frame).rename({"bands": "b.bands"})
    near = run_group(Neighbours(bands="b.bands", best="c.score", **hashes, **fields), frame.hstack(bands))
    stat = Leaders(neighbours="n.neighbours", distances="n.distances")
    rows = frame.hstack(near.rename(lambda name: f"n.{name}"))
    parts = [stat.partial(rows[:3]), stat.partial(rows[3:])]
    operator = Copies(hash="p.hash", leaders="l", first="e.first")
    operator.setup({"l": stat.finish(stat.merge(pl.concat(parts)))}, Device())
    return near, operator.score(frame)


def test_no_chains():
    """Radius 25: 1 is near 0, so it goes; 2 is near 1 alone, which goes, so 2 stays; 3 is near 2, so it
    goes."""
    frame = chain()
    near, found = copies(frame, radius=25)
    uid = frame["uid"].to_list()
    assert near["neighbours"].to_list() == [[], [uid[0]], [uid[1]], [uid[2]], None, []]
    assert near["distances"].to_list() == [[], [20], [20], [20], None, []]
    assert found["copy"].to_list() == [False, True, False, True, True, False]
    assert found["leader"].to_list() == [None, uid[0], None, uid[2], uid[0], None]
    assert found["distance"].to_list() == [None, 20, None, 20, 0, None]


def test_a_cropped_picture_is_near_to_the_inner_part_of_the_other():
    """Its hash has nothing in common with the other's, but is that of the other's inner part."""
    whole, inner = (row.tobytes() for row in random_hashes(2))
    frame = samples(2).with_columns(
        pl.Series("p.hash", [whole, inner]),
        pl.Series("p.cropped", [inner, bytes(32)]),
        pl.Series("c.score", [0.5, 0.9]),
        pl.lit(None, pl.String).alias("e.first"),
        pl.lit(1, pl.UInt32).alias("e.rank"),
    )
    assert copies(frame)[1]["leader"].to_list() == [frame["uid"][1], None]
    assert copies(frame.drop("p.cropped"))[1]["leader"].to_list() == [None, None]


def test_a_wider_radius_and_the_nearest_first():
    frame = chain()
    near, found = copies(frame, radius=40)
    uid = frame["uid"].to_list()
    assert near["neighbours"].to_list()[2] == [uid[1], uid[0]]
    assert near["distances"].to_list()[2] == [20, 40]
    assert found["copy"].to_list() == [False, True, True, False, True, False]


def test_evidence():
    frame = chain()
    rows = frame.hstack([c.alias(f".{c.name}") for c in copies(frame, radius=40)[1]])
    uid = frame["uid"].to_list()
    assert Copies(hash="p.hash", leaders="l").evidence(rows[4], {}, {}).to_dicts() == [
        {"uid": uid[0], "distance": 0}
    ]
    assert Copies(hash="p.hash", leaders="l").evidence(rows[0], {}, {}).is_empty()


def jpeg(image: Image.Image, quality: int) -> np.ndarray:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return np.asarray(Image.open(out).convert("RGB"))


def test_planted_copies_of_pictures_are_found():
    """30 pictures, each cropped by 4 %, scaled to 75 % and compressed: all copies, and nothing else."""
    pictures = [noise(160, 200, cells) for cells in range(10, 40)]
    changed = [jpeg(Image.fromarray(p).crop((4, 3, 196, 157)).resize((150, 120)), 75) for p in pictures]
    hashed = PdqHash().score(samples(60), [*pictures, *changed])
    frame = (
        samples(60)
        .hstack([hashed["hash"].alias("p.hash"), hashed["cropped"].alias("p.cropped")])
        .with_columns(
            pl.Series("c.score", [1.0] * 30 + [0.5] * 30),
            pl.lit(None, pl.String).alias("e.first"),
            pl.lit(1, pl.UInt32).alias("e.rank"),
        )
    )
    found = copies(frame)[1]
    assert found["copy"].to_list() == [False] * 30 + [True] * 30
    assert found["leader"].to_list()[30:] == frame["uid"].to_list()[:30]


def test_the_near_duplicates_of_the_demo_are_found():
    """Copies that were cropped by up to 4 % at each side, brightened and compressed, beside other scenes: a
    shard of the demo, in all shards of which 58 of 59 are found, and one copy of 59 is wrong."""
    records = [orjson.loads(make_sample(0, 1, index, 16)["json"]) for index in range(500)]
    planted = [record for record in records if record["duplicate_of"] is not None]
    wanted = {record[key] for record in planted for key in ("key", "duplicate_of")}
    wanted |= {record["key"] for record in records[:60] if record["planted"] is None}
    chosen = [make_sample(0, 1, int(key[5:])) for key in sorted(wanted)]
    images = [decode(next(s[kind] for kind in ("jpg", "png", "webp") if kind in s))[0] for s in chosen]
    hashed = PdqHash().score(samples(len(chosen)), images)
    frame = samples(len(chosen), uid=[f"{int(sample['__key__']):032x}" for sample in chosen]).with_columns(
        hashed["hash"].alias("p.hash"),
        hashed["cropped"].alias("p.cropped"),
        pl.lit(1, pl.UInt32).alias("e.rank"),
        pl.lit(None, pl.String).alias("e.first"),
        pl.lit(1).alias("c.score"),
    )
    found = frame.hstack(copies(frame, count=32, radius=60)[1]).filter("copy")
    originals = {int(record["key"]): int(record["duplicate_of"]) for record in planted}
    family = {uid: originals.get(int(uid, 16), int(uid, 16)) for uid in frame["uid"]}
    right = sum(family[uid] == family[leader] for uid, leader in found.select("uid", "leader").iter_rows())
    assert len(planted) == 21
    assert right >= 0.95 * len(planted)
    assert right >= 0.95 * len(found)
