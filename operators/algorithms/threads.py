"""Thread counts that torch and OpenCV keep for the whole process: operators set them here only.

Operators run items side by side on `Device.threads` threads of their own. A library that started its own pool
for each item would ask for the same cores again, and would split sums differently from machine to machine.
`pipeline.threads` lists every such setting, and has FAISS's.
"""


def torch_on_one_thread() -> None:
    """Every torch operation on CPU runs on the thread that calls it, from now on in this process."""
    import torch

    torch.set_num_threads(1)


def opencv_on_one_thread() -> None:
    """Every OpenCV function runs on the thread that calls it, from now on in this process."""
    import cv2

    cv2.setNumThreads(1)
