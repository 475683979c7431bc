"""Commands that do not wait for the disk: no test cuts the power, and a killed process leaves what it wrote
in the page cache. A third of the time of a small run is such waiting. `power.py` proves what is synced, and
when; `make test-full` waits."""

import os

from pipeline.storage import disk
from tests.support.sizes import FULL


def skip_syncs() -> None:
    """Let the kernel's fsync and syncfs do nothing in this process and its forks, unless under `make
    test-full`."""
    if not FULL:
        os.fsync = lambda fd: None
        disk._syncfs = lambda: lambda descriptor: 0
