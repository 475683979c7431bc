"""Thread counts that libraries keep for a whole process: who sets each, when and why.

A worker has `Device.threads` CPU threads for its work, and the engine spreads the work over them: images are
decoded side by side (run/decode.py), operators run chunks of rows side by side. A library that started as
many threads again for each chunk would compete for the same cores. It would also split its sums by the number
of threads, and equal inputs would no longer give equal bytes on every machine. So the libraries get one
thread per call:

    torch    one, on CPU, for good   set by an operator's `setup`: operators/algorithms/threads.py
    OpenCV   one, for good           set by an operator's `setup`: operators/algorithms/threads.py
    polars   one, for good           set as a process of a pool of processes starts: jobs/processes.py
    FAISS    a number, for a while   `faiss_threads` here: an operator's search, a step of building an index

FAISS alone is given several threads: its exact search is one call over many queries.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def faiss_threads(number: int) -> Iterator[None]:
    """FAISS works on `number` threads while the block runs, then on as many as before."""
    import faiss

    before: Any = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(number)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
