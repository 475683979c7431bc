"""No picture costs more memory than its limit, those beyond a limit are named, and their neighbours are not
affected."""

import json
import platform
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from PIL import Image

from pipeline.operator import Device, ImageScore
from pipeline.recipe.limits import DEFAULTS, MAX_PIXELS, Limits
from pipeline.recipe.sections import Entry
from pipeline.run.decode import Room, decode
from pipeline.run.stage.decoder import Decoder
from pipeline.run.stage.runner import StageRunner
from tests.support.bad_images import BAD, jpeg_more_scans, jpeg_scans, jpeg_segment, png, tiff_tile
from tests.support.pictures import PICTURES, encoded, scene
from tests.support.samples import picture, samples

pytestmark = pytest.mark.filterwarnings("ignore:Palette images")  # Pillow's

ROOT = Path(__file__).parents[3]
MOST = 300 << 20  # bytes of memory above the idle process
# Prints, for each file of a folder: its name, the memory that its header and its pixels took, the shape of
# the pixels, the reason. Each is measured in a process of its own, forked before any picture was decoded. At
# last all of them are measured in one process.
MEASURE = """
import json, os, resource, sys
from pipeline.pool.fields import image_size
from pipeline.run.stage.decoder import Decoder
from tests.support.samples import picture

def measure(name):
    decoder = Decoder(1)
    decoder([picture(0, format=format) for format in ("JPEG", "PNG", "WEBP", "AVIF")])
    data = open(f"{sys.argv[1]}/{name}", "rb").read()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    image_size(data)
    [(pixels, reason)] = decoder([data])
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps([name, (after - before) << 10, None if pixels is None else pixels.shape, reason]))

def measure_all(names):
    decoder = Decoder(1)
    decoder([picture(0, format=format) for format in ("JPEG", "PNG", "WEBP", "AVIF")])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name in names:
        decoder([open(f"{sys.argv[1]}/{name}", "rb").read()])
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps(["all", (after - before) << 10, None, None]))

names = sorted(os.listdir(sys.argv[1]))
for work, given in [*((measure, name) for name in names), (measure_all, names)]:
    if (child := os.fork()) == 0:
        work(given)
        sys.stdout.flush()
        os._exit(0)
    os.waitpid(child, 0)
"""
HARMLESS = ("flat", "as many as may be", "segments", "pages", "frames", "tiff tile", "avif claims")


def refusal(name: str) -> str | None:
    """The reason that a kind of bad picture must have; None if it can be decoded."""
    if "scans" in name and "as many" not in name:
        return "image has too many scans: over 100 (limits.image_scans)"
    if "largest" in name:
        return "image too large: "
    if "large" in name:
        return "image too large for its file: "
    if any(word in name for word in HARMLESS) or name == "jpeg claims":
        return None
    return "image cannot be decoded: "


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Name -> (memory, shape, reason) of every bad picture."""
    folder = tmp_path_factory.mktemp("bad")
    for name, make in BAD.items():
        (folder / name).write_bytes(make())
    command = [sys.executable, "-W", "ignore", "-c", MEASURE, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=500, check=True)
    return {name: rest for name, *rest in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("name", BAD)
def test_memory_of_bad_pictures(name, measured):
    memory, shape, reason = measured[name]
    assert memory <= MOST
    expected = refusal(name)
    assert (shape is None) == (expected is not None)
    assert (reason or "").startswith(expected or "")
    assert (reason or "").isprintable()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has such a setting")
def test_memory_of_all_bad_pictures_one_after_the_other(measured):
    """What one of them took is given back before the next one is decoded."""
    assert measured["all"][0] <= MOST


# --- the bounds ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PICTURES)
def test_pixels_at_the_bound(name):
    height, width, _ = decode(PICTURES[name])[0].shape
    size = f"{width} x {height}" if "EXIF" not in name else ""
    bound = 61 * 47 - 1
    reason = decode(PICTURES[name], Limits(image_pixels=bound))[1]
    assert reason.startswith(f"image too large: {size}")
    assert reason.endswith(f", at most {bound} pixels (limits.image_pixels)")
    assert decode(PICTURES[name], Limits(image_pixels=bound + 1))[1] is None


def test_memory_at_the_bound():
    """A picture of 2,048 x 1,024 pixels takes 8 bytes for each: 16 MiB."""
    data = png(2_048, 1_024)
    assert decode(data, Limits(image_memory=16))[1] is None
    reason = decode(data, Limits(image_memory=15))[1]
    assert reason == (
        f"image too large for its file: 2048 x 1024 in {len(data)} bytes would take 16 MiB, at most 15 "
        "(limits.image_memory)"
    )


def test_a_large_file_may_take_more():
    """Of two files with equal pixels, the one with more bytes has more room."""
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (1_024, 1_024, 3), np.uint8))
    large = encoded(noise, "PNG")
    assert len(large) > 3 << 20
    limits = Limits(image_memory=4)  # 8 MiB are needed
    assert decode(large, limits)[1] is None
    assert "at most 4 (limits.image_memory)" in decode(png(1_024, 1_024), limits)[1]


def test_a_tile_counts_as_it_is_held():
    assert "would take 49 MiB, at most 32" in decode(tiff_tile(4_096), Limits(image_memory=32))[1]


def test_scans_at_the_bound():
    assert decode(jpeg_scans(64, 64, 12), Limits(image_scans=12))[1] is None
    reason = "image has too many scans: over 11 (limits.image_scans)"
    assert decode(jpeg_scans(64, 64, 12), Limits(image_scans=11)) == (None, reason)


def test_scans_behind_a_whole_one_are_counted_too():
    """Its header is that of a JPEG with one scan, so they are counted when libjpeg has refused it. At the
    bound, one and ten more, the reason is libjpeg's."""
    reason = "image has too many scans: over 10 (limits.image_scans)"
    assert decode(jpeg_more_scans(10), Limits(image_scans=10)) == (None, reason)
    reason = decode(jpeg_more_scans(10), Limits(image_scans=11))[1]
    assert reason.startswith("image cannot be decoded: ")


def test_views_of_arrow_are_bounded_too():
    """Their bytes are signed: compared as they are, they equal no marker of a JPEG."""
    data = memoryview(pa.py_buffer(jpeg_scans(64, 64, 200)))
    assert data.format == "b"
    assert decode(data)[1] == "image has too many scans: over 100 (limits.image_scans)"


def test_scans_of_thumbnails_do_not_count():
    data = PICTURES["jpeg progressive"]
    thumbnails = jpeg_segment(0xE1, jpeg_scans(16, 16, 200)[:60_000])
    with_thumbnails = data[:2] + thumbnails + data[2:]
    assert (decode(with_thumbnails)[0] == decode(data)[0]).all()


def test_real_encoders_write_few_scans():
    assert decode(encoded(scene(), "JPEG", progressive=True), Limits(image_scans=10))[1] is None


def test_limits_that_differ_are_named():
    assert DEFAULTS.changed() == {}
    assert Limits(image_scans=7, image_pixels=MAX_PIXELS).changed() == {"limits.image_scans": "7"}


# --- neighbours ------------------------------------------------------------------------------------


class Mean(ImageScore):
    writes = {"mean": pl.Float64}

    def score(self, batch, images):
        means = [None if image is None else float(image.mean()) for image in images]
        return pl.DataFrame({"mean": pl.Series(means, dtype=pl.Float64)})


def test_neighbours_are_not_affected():
    good = [picture(n, 90, 70) for n in range(4)]
    names = (
        "jpeg scans",
        "jpeg claims, large",
        "png claims, largest",
        "webp truncated",
        "gif claims, largest",
    )
    bad = [BAD[name]() for name in names]
    mixed = [item for pair in zip(good, bad, strict=False) for item in pair] + bad[4:]
    entry = Entry("plugin.Mean", Mean())
    found, _ = StageRunner({"m": entry}, {}, Device(threads=3), 8).run(samples(len(mixed)), mixed)
    alone, _ = StageRunner({"m": entry}, {}, Device(), 8).run(samples(len(good)), good)
    assert found["m.mean"][:8:2].to_list() == alone["m.mean"].to_list()
    assert found["m.mean"].null_count() == len(bad)
    assert found.filter(pl.col("m.mean").is_null())["m.error"].null_count() == 0


def test_the_runner_keeps_the_recipes_limits():
    runner = StageRunner({"m": Entry("plugin.Mean", Mean())}, {}, Device(), 8, Limits(image_pixels=100))
    found, _ = runner.run(samples(1), [picture(0, 20, 20)])
    assert found["m.error"].to_list() == [
        "image too large: 20 x 20, at most 100 pixels (limits.image_pixels)"
    ]


def test_threads_share_room():
    """Two that fit go together, a third waits; one larger than all runs alone."""
    room = Room(10)
    inside, most = [0], [0]
    lock = threading.Lock()

    def work(cost: int) -> None:
        with room.taken(cost):
            with lock:
                inside[0] += min(cost, 10)
                most[0] = max(most[0], inside[0])
            with lock:
                inside[0] -= min(cost, 10)

    threads = [threading.Thread(target=work, args=(cost,)) for cost in [4, 5, 99, 6] * 20]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)
    assert most[0] <= 10


def test_room_is_given_back_after_a_failure():
    decoder = Decoder(2)
    decoder([BAD["jpeg truncated"](), BAD["png claims"]()] * 8)
    with decoder.room.taken(1 << 40):
        pass
