"""The machine that `make gpu` measures: its device, a clock that waits for the device, and how busy it is."""

import os
import platform
import statistics
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from types import TracebackType
from typing import Any, Self

import torch

PACKAGES = ("torch", "torchvision", "open_clip_torch", "timm", "numpy", "pillow", "onnxruntime", "faiss-gpu")
EVERY = 0.05  # seconds between two looks at the device


class Machine:
    """The first CUDA device with all cores, or the CPU."""

    def __init__(self) -> None:
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.threads = len(os.sched_getaffinity(0))

    @property
    def has_gpu(self) -> bool:
        """Whether there is a CUDA device."""
        return self.device == "cuda"

    def facts(self) -> dict[str, Any]:
        """The device, the cores and the versions, for the head of a table."""
        found = {}
        for name in PACKAGES:
            with suppress(PackageNotFoundError):
                found[name] = version(name)
        device = torch.cuda.get_device_name() if self.has_gpu else "none"
        date = time.strftime("%Y-%m-%d", time.gmtime())
        python = platform.python_version()
        return {"device": device, "cores": self.threads, "date": date, "python": python, "packages": found}

    def wait(self) -> None:
        """Return when the device has nothing left to do."""
        if self.has_gpu:
            torch.cuda.synchronize()

    def seconds(self, function: Callable[[], Any], repeats: int = 5) -> float:
        """The median time of a call, the device's work included. The first call does not count."""
        function()
        self.wait()
        found = []
        for _ in range(repeats):
            started = time.perf_counter()
            function()
            self.wait()
            found.append(time.perf_counter() - started)
        return statistics.median(found)


class Busy:
    """The share of time in which the device ran a kernel, and the most memory it had in use, while the block
    runs. NVML tells the share; without it, or without a device, it is None."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.looks: list[int] = []
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._look)

    def __enter__(self) -> Self:
        if self.machine.has_gpu:
            torch.cuda.reset_peak_memory_stats()
            self.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ended.set()
        if self.machine.has_gpu:
            self.thread.join()

    @property
    def share(self) -> float | None:
        """In [0, 1]."""
        return sum(self.looks) / len(self.looks) / 100 if self.looks else None

    @property
    def gib(self) -> float | None:
        """Of device memory, at most."""
        return torch.cuda.max_memory_allocated() / 2**30 if self.machine.has_gpu else None

    def _look(self) -> None:
        """Ask the device until the block ends."""
        while not self.ended.wait(EVERY):
            try:
                self.looks.append(torch.cuda.utilization())
            except Exception:  # NVML is not there
                return
