"""Thread counts that torch, OpenCV and numpy keep for the whole process: the only place where operators set
them.

`pipeline/threads.py` says why they are one, and sets the count of FAISS.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
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
def blas_threads(number: int) -> Iterator[None]:
    """Matrix products of numpy work on `number` threads while the block runs, then on as many as before. For
    small ones, starting threads takes longer than the product, far longer if others use the cores."""
    with _controller().limit(limits=number):
        yield


@cache
def _controller() -> Any:
    """What sets the threads of numpy's BLAS. Looking for it takes some milliseconds."""
    import numpy  # noqa: F401 - loads its BLAS
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")
