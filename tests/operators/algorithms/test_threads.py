"""Thread counts that operators set."""

from threadpoolctl import threadpool_info

from operators.algorithms.threads import blas_threads


def counts() -> set[int]:
    """Of numpy's BLAS; scipy and torch bring their own."""
    return {library["num_threads"] for library in threadpool_info() if "numpy" in library["filepath"]}


def test_matrix_products_get_their_threads_for_a_while():
    before = counts()
    with blas_threads(3):
        assert counts() == {3}
        with blas_threads(1):
            assert counts() == {1}
        assert counts() == {3}
    assert counts() == before
