"""Random histories of a pool: after each run the exports are those of a new store over the pool as it is."""

from tests.support.pool_machine import explore
from tests.support.sizes import either


def test_random_histories() -> None:
    explore(sequences=either(5, 60), steps=either(8, 12))
