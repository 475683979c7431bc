"""Whether captions are where the recipe says (`pool.caption`), in the first samples of a few shards.

check_places(kind, shards)    # raises RecipeError if no place has any
look(kind, shards)            # Looked(samples=200, shards=2, without=0, counts={"txt": 200})
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import NamedTuple

import polars as pl

from pipeline.errors import RecipeError, ShardError
from pipeline.pool.captions import KEY
from pipeline.pool.kinds.kind import SHOWN, PoolKind
from pipeline.pool.shards import Shard
from pipeline.pool.text_tables import Break
from pipeline.storage.retry import from_storage

SHARDS = 5  # that are looked at
WIDTH = 40  # characters of a place that a message lists


class Looked(NamedTuple):
    """What the first samples of some shards have: how many samples of how many shards, those without a
    caption, those with one at each place, and the shards."""

    samples: int
    without: int
    counts: Mapping[str, int]
    shards: Sequence[Shard]


def spread(shards: Sequence[Shard]) -> Sequence[Shard]:
    """At most SHARDS of the shards, evenly spread, the first and the last among them."""
    most = min(SHARDS, len(shards))
    return [shards[n * (len(shards) - 1) // max(1, most - 1)] for n in range(most)]


def check_places(kind: PoolKind, shards: Sequence[Shard]) -> None:
    """Raises RecipeError, which lists what is there, if none of the first samples of these shards has a
    caption where the recipe says. Shards that are empty or cannot be read do not count: the pass that reads
    them will say so."""
    seen, samples = list[Shard](), 0
    for shard, rows in _first_rows(kind, spread(shards)) if kind.places else ():
        if rows["text"].count():
            return
        seen.append(shard)
        samples += len(rows)
    if seen:
        raise RecipeError(absence(kind, Looked(samples, samples, {}, seen), kind.places))


def look(kind: PoolKind, shards: Sequence[Shard]) -> Looked:
    """How many of the first samples of these shards have a caption at each place."""
    counts, seen, samples, without = Counter[str](), list[Shard](), 0, 0
    for shard, rows in _first_rows(kind, spread(shards)) if kind.places else ():
        seen.append(shard)
        samples += len(rows)
        without += rows["text"].null_count()
        for place in kind.places:
            alone = type(kind)(kind.paths, kind.columns, kind.limits, (place,))
            counts[str(place)] += sum(rows["text"].count() for _, rows in _first_rows(alone, [shard]))
    return Looked(samples, without, counts, seen)


def absence(kind: PoolKind, looked: Looked, places: Sequence[str | int]) -> str:
    """The message that none of the samples looked at has a caption at some places, with what is there."""
    there = set[str]()
    for shard in looked.shards:
        try:
            there |= kind.places_of(shard)
        except Exception as error:
            if not _of_shard(error):
                raise
    keys = {name.removeprefix(KEY): name for name in sorted(there)}
    close = [keys[k] for p in places for k in get_close_matches(str(p).removeprefix(KEY), keys, 1)]
    hint = f" (did you mean {close[0]:.{WIDTH}}?)" if close else ""
    more = f" and {len(there) - SHOWN} more" if len(there) > SHOWN else ""
    listed = ", ".join(f"{name:.{WIDTH}}" for name in sorted(there)[:SHOWN]) or "none"
    return (
        f"pool.caption: none of {numbered(looked)} has a caption at {', '.join(map(str, places))}{hint}; "
        f"there are: {listed}{more}"
    )


def numbered(looked: Looked) -> str:
    """Which samples were looked at, in words."""
    if len(looked.shards) == 1:
        return f"the first {looked.samples:,} samples of {looked.shards[0].path}"
    return (
        f"{looked.samples:,} samples, the first of {len(looked.shards)} shards from {looked.shards[0].path} to "
        f"{looked.shards[-1].path},"
    )


def _first_rows(kind: PoolKind, shards: Iterable[Shard]) -> Iterator[tuple[Shard, pl.DataFrame]]:
    """The first rows of each shard that has any and can be read."""
    for shard in shards:
        try:
            rows = kind.first_rows(shard)
        except Exception as error:
            if not _of_shard(error):
                raise
            continue
        if rows is not None and len(rows):
            yield shard, rows


def _of_shard(error: Exception) -> bool:
    """Whether an error is one of a shard or of storage, which the pass that reads it will tell."""
    return isinstance(error, ShardError | Break) or from_storage(error)
