"""Thread counts that torch, OpenCV and FAISS keep for the whole process: the only place where operators set
them.

Operators run items side by side on `Device.threads` threads of their own. A library that started its own pool
for each item would ask for the same cores again, and would split sums differently from machine to machine.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def torch_on_one_thread() -> None:
    """Every torch operation on CPU runs on the thread that calls it, from now on in this process."""
    import torch

    torch.set_num_threads(1)


def opencv_on_one_thread() -> None:
    """Every OpenCV function runs on the thread that calls it, from now on in this process."""
    import cv2

    cv2.setNumThreads(1)


@contextmanager
def faiss_threads(number: int) -> Iterator[None]:
    """FAISS searches on `number` threads while the block runs, then on as many as before."""
    import faiss

    before: Any = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(number)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
