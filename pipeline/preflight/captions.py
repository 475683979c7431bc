"""Where the first samples of a pool have captions, for `winnow plan`, if the recipe names places.

looked = looked_for_captions(session)
caption_line(looked)
# "of 200 samples, the first of 2 shards, 200 have txt, 183 json.recaption; 0 have no caption"
caption_warnings(session, looked)
# ["pool.caption: none of ... has a caption at json.recapton (did you mean json.recaption?) ..."]
"""

from pipeline.plan.session import Session
from pipeline.pool.kinds.places import Looked, absence, look


def looked_for_captions(session: Session) -> Looked:
    """What the first samples of a few shards have. None are looked at if the recipe names no place, or if the
    pool is the table of samples itself."""
    return look(session.kind, session.shards if session.sample_folders else ())


def caption_line(looked: Looked) -> str:
    """How many of the samples have a caption at each place, and how many at none. Empty without samples."""
    if not looked.samples:
        return ""
    found = ", ".join(f"{count:,} have {place}" for place, count in looked.counts.items())
    shards = len(looked.shards)
    of = f"{looked.samples:,} samples, the first of {shards} shards" if shards > 1 else ""
    of = of or f"the first {looked.samples:,} samples"
    return f"of {of}, {found}; {looked.without:,} have no caption"


def caption_warnings(session: Session, looked: Looked) -> list[str]:
    """A warning for each place where none of the samples has a caption, with the places that are there."""
    missing = [place for place in session.kind.places if looked.samples and not looked.counts[str(place)]]
    return [absence(session.kind, looked, (place,)) for place in missing]
