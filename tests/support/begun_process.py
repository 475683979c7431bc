"""Another process that has begun its work, so that it can be killed in the middle."""

import multiprocessing
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def begun_process(work: Callable[..., None], root: Path, *arguments: Any) -> multiprocessing.Process:
    """A process that runs `work(root, *arguments)`, once that has made the file `begun` in `root`."""
    (root / "begun").unlink(missing_ok=True)
    process = multiprocessing.get_context("spawn").Process(target=work, args=(root, *arguments))
    process.start()
    while not (root / "begun").exists() and process.is_alive():
        time.sleep(0.01)
    return process
