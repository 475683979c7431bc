"""Another process that has begun its work, so that it can be killed in the middle."""

import multiprocessing
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def begun_process(work: Callable[..., None], root: Path, *arguments: Any) -> multiprocessing.Process:
    """A process that runs `work(root, *arguments)`, once that has made the file `begun` in `root`. It is the
    fork of one that has imported everything: a process of its own would take a second or two for that."""
    (root / "begun").unlink(missing_ok=True)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.support.warmed_up"])
    process = context.Process(target=_work, args=(dict(os.environ), work, root, *arguments))
    process.start()
    while not (root / "begun").exists() and process.is_alive():
        time.sleep(0.01)
    return process


def _work(environment: dict[str, str], work: Callable[..., None], *arguments: Any) -> None:
    """Work in this environment, instead of that in which the first process began."""
    os.environ.clear()
    os.environ.update(environment)
    work(*arguments)
