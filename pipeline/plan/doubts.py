"""What operators have to say about some rows of the pool, such as that a list does not fit its captions.

doubts(session)    -> ["compute.entries: 49 % of 2,000 captions match no entry of ...", ...]
"""

from itertools import islice

import polars as pl

from pipeline.errors import ShardError
from pipeline.operator import Operator
from pipeline.plan.session import Session

SHARDS = 4  # that rows are taken from, evenly over the pool
ROWS = 500  # of each


def doubts(session: Session) -> list[str]:
    """A line for each doubt, which begins with the operator's key. Of shards whose samples, and of operators
    whose inputs, are not in the store, there is none."""
    known = [shard.name for shard in session.shards if shard.content]
    chosen = list(islice(known, 0, None, max(1, len(known) // SHARDS)))[:SHARDS]
    return [
        f"compute.{name}: {text}"
        for name in session.recipe.compute
        if type(operator := session.recipe.operator(name)).doubts is not Operator.doubts
        for text in _of_operator(session, operator, chosen)
    ]


def _of_operator(session: Session, operator: Operator, shards: list[str]) -> list[str]:
    """The doubts of one operator. Without its files, or with damaged parts, it has none: others say so."""
    try:
        parts = [next(session.columns.batches(shard, operator.inputs(), ROWS)) for shard in shards]
        return list(operator.doubts(pl.concat(parts))) if parts else []
    except (OSError, ValueError, ShardError):
        return []
