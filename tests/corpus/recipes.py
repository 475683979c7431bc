"""Recipes."""

from tests.corpus.kind import Build, Kind, refused
from tests.corpus.pool import OddPool

POOL = b"pool: {shards: '{pool}', store: '{store}'}\n"


def recipe(text: bytes) -> Build:
    """A recipe of these bytes, in which {pool}, {store} and {out} stand for their paths."""

    def build(pool: OddPool) -> None:
        pool.text = text
        pool.exported = False

    return build


KINDS = [
    Kind("empty", recipe(b""), refused("must be a mapping")),
    Kind("an unknown section", recipe(POOL + b"colour: red"), refused("colour")),
]
