"""The FAISS factory strings that an export may name: a grammar that is checked before FAISS sees the string.

    why_not("IVF1024,SQ8")   -> ""
    why_not("HNSW0")         -> "HNSW0: a number there must be 2 to 256, got 0"

FAISS itself ends the process for some strings (`HNSW0` by an assertion, `PQ4x0` by a division, long ones
in its regular expressions) and takes minutes for others (`Pad999999999,Flat`). Here are those that it builds
of unit vectors which are added one after the other and compared by inner product: `IDMap` needs ids of its
own, `NSG` all vectors at once, `LSH` and `IMI` another metric.

    string = {transform ","} index ["," refine]
    index  = codes | lists "," codes | graph ["," codes]
"""

import re

LONGEST = 100  # characters; the longest that `auto` chooses has 33
EXAMPLES = "Flat, IVF1024,Flat, IVF4096,SQ8, HNSW32, OPQ16_64,IVF65536_HNSW32,PQ16"

SCALAR = r"SQ(?:4|6|8|fp16|bf16)"
PRODUCT = r"PQ(?P<parts>[0-9]+)(?:x(?P<bits>[0-9]+))?(?:np)?"
FAST = r"(?:fsr?(?:_(?:32|64|96|128))?)?"  # codes that are scanned in registers
REFINE = re.compile(rf"RFlat|Refine\((?:Flat|{SCALAR})\)")
TRANSFORM = re.compile(
    r"PCAW?R?(?P<width>[0-9]+)|OPQ(?P<parts>[0-9]+)(?:_(?P<reduced>[0-9]+))?|(?:RR|Pad)(?P<size>[0-9]+)|L2norm"
)
LISTS = re.compile(r"IVF(?P<lists>[0-9]+)(?:_HNSW(?P<links>[0-9]+)?)?")
CODES = re.compile(rf"Flat|{SCALAR}|{PRODUCT}{FAST}|RaBitQ(?:fs)?")
GRAPH = re.compile(rf"HNSW(?P<links>[0-9]+)?(?:_(?:Flat|{SCALAR}|{PRODUCT}))?")
GRAPH_CODES = re.compile(rf"Flat|{SCALAR}|{PRODUCT}")
NUMBERS = {  # what the numbers may be; FAISS ends the process, or runs out of memory, beyond
    "width": (1, 16_384),
    "reduced": (1, 16_384),
    "size": (1, 16_384),
    "parts": (1, 2_048),
    "bits": (1, 8),  # training takes minutes beyond
    "lists": (1, 1 << 24),
    "links": (2, 256),
}


def check_factory(factory: str) -> str:
    """The same factory string. Raises ValueError if an export may not name it."""
    if factory != "auto" and (why := why_not(factory)):
        shown = factory if len(factory) <= LONGEST else f"{factory[:LONGEST]}..."
        raise ValueError(f"must be auto or a FAISS factory string such as {EXAMPLES}, got {shown!r}: {why}")
    return factory


def why_not(factory: str) -> str:
    """Why an export may not name a factory string; empty if it may."""
    if len(factory) > LONGEST:
        return f"it has {len(factory):,} characters, at most {LONGEST} are allowed"
    words = factory.split(",")
    reasons = []
    while words and TRANSFORM.fullmatch(words[0]):
        reasons.append(_read(words, TRANSFORM))
    if words and LISTS.fullmatch(words[0]):
        reasons += [_read(words, LISTS), _read(words, CODES)]
    elif words and GRAPH.fullmatch(words[0]):
        reasons.append(_read(words, GRAPH))
        if words and GRAPH_CODES.fullmatch(words[0]):
            reasons.append(_read(words, GRAPH_CODES))
    else:
        reasons.append(_read(words, CODES))
    if words and not any(reasons):
        reasons.append(_read(words, REFINE))
    if words and not any(reasons):
        reasons.append(f"{','.join(words)} is left over")
    return next(filter(None, reasons), "")


def _read(words: list[str], kind: re.Pattern[str]) -> str:
    """Takes the first word off; why it is not of that kind, or has a number that may not be; empty if it is
    fine."""
    word = words.pop(0) if words else ""
    found = kind.fullmatch(word)
    if found is None:
        return f"{word!r} is not a part that can stand there"
    for name, text in found.groupdict().items():
        least, most = NUMBERS[name]
        if text is not None and not (len(text) < 12 and least <= int(text) <= most):
            return f"{word}: a number there must be {least:,} to {most:,}, got {text}"
    return ""
