"""Thread counts that torch and OpenCV keep for the whole process: the only place where operators set them.

`pipeline/threads.py` says why they are one, and sets the count of FAISS.
"""


def torch_on_one_thread() -> None:
    """Every torch operation on CPU runs on the thread that calls it, from now on in this process."""
    import torch

    torch.set_num_threads(1)


def opencv_on_one_thread() -> None:
    """Every OpenCV function runs on the thread that calls it, from now on in this process."""
    import cv2

    cv2.setNumThreads(1)
