"""Operators that are slow, that fail, or that take their process along: `use: faulty.Slow`."""

import os
import sys
import time
from contextlib import suppress

import numpy as np
import polars as pl

from pipeline.operator import Score, Stat


class Slow(Score):
    """The caption's length, after a nap of `seconds` per row: time to kill the run."""

    seconds: float = 0.01
    needs = ("text",)
    writes = {"length": pl.UInt32}

    def score(self, batch):
        time.sleep(self.seconds * len(batch))
        return batch.select(length=pl.col("text").str.len_chars())


class Broken(Score):
    """Fails on every row."""

    needs = ("text",)
    writes = {"never": pl.UInt32}

    def score(self, batch):
        if not len(batch):
            return pl.DataFrame({"never": []}, schema=dict(self.writes))
        raise ValueError("no row is good enough")


class NoSetup(Broken):
    """Cannot be set up."""

    def setup(self, stats, device):
        raise RuntimeError("nothing to set up")


class Leaving(Broken):
    """Ends its process, as a script does."""

    def score(self, batch):
        sys.exit(0)


class Deadly(Broken):
    """Ends its process, as a crash in a C library does."""

    def score(self, batch):
        os._exit(1)


class DeadlyOnce(Score):
    """The caption's length. If the file `flag` exists, one worker deletes it and ends its process."""

    flag: str
    needs = ("text",)
    writes = {"length": pl.UInt32}

    def score(self, batch):
        with suppress(FileNotFoundError):
            os.unlink(self.flag)
            os._exit(1)
        return batch.select(length=pl.col("text").str.len_chars())


class Hungry(Score):
    """The caption's length. If the file `flag` exists, one worker deletes it and takes memory until it is
    killed, at most `most` bytes."""

    flag: str
    most: int
    needs = ("text",)
    writes = {"length": pl.UInt32}

    def score(self, batch):
        try:
            os.unlink(self.flag)
        except FileNotFoundError:
            return batch.select(length=pl.col("text").str.len_chars())
        held = []
        for _ in range(self.most >> 26):
            held.append(np.ones(1 << 26, np.uint8))
            time.sleep(0.05)
        time.sleep(20)  # the monitor looks every quarter of a second
        raise MemoryError("nobody came to kill it")


class NoPartial(Stat):
    """`partial` raises."""

    needs = ("text",)

    def partial(self, batch):
        return pl.DataFrame({"n": [len(batch)]}).nonsense()

    def merge(self, parts):
        return parts.sum()


class NoMerge(Stat):
    """`merge` raises."""

    needs = ("text",)

    def partial(self, batch):
        return pl.DataFrame({"n": [len(batch)]})

    def merge(self, parts):
        return parts.sum().select("m")


class NotATable(NoMerge):
    """`partial` returns a series."""

    def partial(self, batch):
        return super().partial(batch)["n"]


class Things(NotATable):
    """Returns Python's objects, which no file can hold."""

    def partial(self, batch):
        return pl.DataFrame({"sum": pl.Series([object()], dtype=pl.Object)})


class Worried(Slow):
    """Fails at telling what it would warn of."""

    def warnings(self):
        raise KeyError("nothing")


class Speechless(Slow):
    """Returns nothing where a list of texts or a table is due."""

    def warnings(self):
        return None

    def evidence(self, row, stats, sources):
        return None


class Renames(NoMerge):
    """`merge` gives its table another column."""

    def merge(self, parts):
        return parts.select(total=pl.col("n").sum())


class Uneven(NoMerge):
    """`partial` gives a column another type for every second shard."""

    needs = ("shard",)

    def partial(self, batch):
        odd = batch["shard"][0][-1] in "13579"
        return pl.DataFrame({"n": [float(len(batch)) if odd else len(batch)]})

    def merge(self, parts):
        return parts.sum()
