"""Where the first samples of a pool have captions: a line of `winnow plan`, if the recipe names places.

caption_line(session)
# "of the first 200 samples, 200 have txt, 183 json.recaption; 0 have no caption"
"""

from collections import Counter

from pipeline.errors import ShardError
from pipeline.plan.session import Session
from pipeline.storage.retry import from_storage

SHARDS = 2


def caption_line(session: Session) -> str:
    """How many of the first samples have a caption at each place, and how many at none. Empty if the recipe
    names no place, if the pool is the table of samples itself, and if nothing can be read."""
    kind = session.kind
    places = kind.places if session.sample_folders else ()
    counts, samples, without = Counter[str](), 0, 0
    for shard in session.shards[:SHARDS] if places else ():
        try:
            whole = kind.first_rows(shard)
            for place in places if whole is not None else ():
                alone = type(kind)(kind.paths, kind.columns, kind.limits, (place,)).first_rows(shard)
                counts[str(place)] += 0 if alone is None else alone["text"].count()
        except Exception as error:
            if not (isinstance(error, ShardError) or from_storage(error)):
                raise
            continue
        samples += 0 if whole is None else len(whole)
        without += 0 if whole is None else whole["text"].null_count()
    if not samples:
        return ""
    found = ", ".join(f"{counts[str(place)]:,} have {place}" for place in places)
    return f"of the first {samples:,} samples, {found}; {without:,} have no caption"
