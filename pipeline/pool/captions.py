"""The captions of a sample, if the recipe says where they are (`pool.caption`): all that is there, in order.

    captions_of([("txt", "a cat", None), ("json.more", ["a tabby", None], None)])
    # (["a cat", "a tabby"], "caption left out: item 2 of json.more is null")

A place is the txt member, a key of the json member, or a column of a table. A text there is a caption, and a
list there holds several. The first caption of all is the sample's `text`. What cannot be a caption is left
out with a reason, and its neighbours stay.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import polars as pl
import pyarrow as pa

from pipeline.arrow_columns import text_lists
from pipeline.bounds import USUAL, Bounds
from pipeline.errors import RecipeError, brief, shortened
from pipeline.pool.fields import NO_CAPTION, over, string
from pipeline.schema import CAPTIONS_COLUMN

TXT, KEY = "txt", "json."  # places among files: the txt, and what the name of a key of the json follows
LEFT_OUT = "caption left out"
MOST_CAPTIONS = 64  # read of a list: a json of 4 MiB could hold a million
MOST_FAULTS = 3  # that a reason names
NOT_TEXTS = {
    type(None): "null",
    bool: "a Boolean",
    int: "a number",
    float: "a number",
    dict: "an object",
    list: "a list",
}


def check_members(places: Sequence[str | int]) -> None:
    """Raises RecipeError for a place that files of a sample do not have: one is `txt` or `json.KEY`."""
    for place in places:
        if place != TXT and not (isinstance(place, str) and place.removeprefix(KEY) not in ("", place)):
            meant = _meant(place) if isinstance(place, str) else ""
            close = f" (did you mean {shortened(meant)}?)" if meant else ""
            raise RecipeError(
                f"pool.caption must be {TXT} or {KEY}KEY, a key of the json, got {brief(place)}{close}"
            )


def _meant(place: str) -> str:
    """The place that one of another form may stand for: txt for TXT, json.recaption for recaption."""
    start, _, key = place.partition(".")
    if place.strip(".").lower() == TXT:
        return TXT
    if start.lower() == KEY[:-1]:
        return KEY + key if key else ""
    return KEY + place


class Captions(NamedTuple):
    """The captions of a sample, and why there is none, or why some are left out."""

    texts: list[str]
    reason: str | None


def captions_of(found: Iterable[tuple[str, object, str | None]], limits: Bounds = USUAL) -> Captions:
    """The captions at some places, in order. `found`: (place, the value there, why it cannot be read) of
    each. A text is a caption, a list holds several, of which MOST_CAPTIONS are read; None is none."""
    texts: list[str] = []
    faults: list[str] = []
    places: list[str] = []
    for place, value, fault in found:
        places.append(place)
        several = isinstance(value, list)
        items = value if isinstance(value, list) else [value]
        if fault is not None:
            faults.append(f"{place} {fault}")
        if len(items) > MOST_CAPTIONS:
            faults.append(f"{place} has more than {MOST_CAPTIONS} items, of which so many are read")
        if not items:
            faults.append(f"{place} is an empty list")
        for number, item in enumerate(items[:MOST_CAPTIONS], 1):
            text = string(item)
            why = _not_a_caption(item, text, limits)
            if why is None and text is not None:
                texts.append(text)
            elif item is not None or several:
                faults.append(f"item {number} of {place} {why}" if several else f"{place} {why}")
    said = ", ".join(faults[:MOST_FAULTS]) or f"nothing at {', '.join(places)}"
    said += f", and {len(faults) - MOST_FAULTS} more" if len(faults) > MOST_FAULTS else ""
    if not texts:
        return Captions(texts, f"{NO_CAPTION}: {said}")
    return Captions(texts, f"{LEFT_OUT}: {said}" if faults else None)


def uid_text(usual: str | None, first: str | None) -> str | None:
    """The text of which a sample's uid is made: the one that a recipe without `pool.caption` reads, else the
    `first` caption, so that samples with one url and different captions have different uids."""
    return usual if first is None or (usual and usual.strip()) else first


def _not_a_caption(item: object, text: str | None, limits: Bounds) -> str | None:
    """Why a value is not a caption; None if it is one. `text`: the value as `string` gives it."""
    if text is None:
        return f"is {NOT_TEXTS.get(type(item), 'not a text')}"
    if not text.strip():
        return "is empty"
    size = len(text) if text.isascii() else len(text.encode())
    if size > limits.caption_bytes:
        return over(size, limits.caption_bytes, "caption_bytes").removeprefix("it ")
    return None


def captions_frame(columns: Mapping[str, Sequence[object]], limits: Bounds = USUAL) -> pl.DataFrame:
    """`captions`, and `left_out`, the reasons, of rows. `columns`: by place, the values there by row."""
    rows = zip(*columns.values(), strict=True)
    found = [captions_of(((p, v, None) for p, v in zip(columns, row, strict=True)), limits) for row in rows]
    schema = {**CAPTIONS_COLUMN, "left_out": pl.String}
    return pl.DataFrame({"captions": [f.texts for f in found], "left_out": [f.reason for f in found]}, schema)


def of_captions(batch: pa.RecordBatch, names: Sequence[str | int], limits: Bounds = USUAL) -> pl.DataFrame:
    """`captions_frame` of these columns, of which some may be missing. Raises ValueError if one has no
    texts."""
    columns: dict[str, Sequence[object]] = {}
    for name in map(str, names):
        there = name in batch.schema.names
        found = text_lists(batch.column(name), name, MOST_CAPTIONS + 1) if there else None
        columns[name] = [None] * batch.num_rows if found is None else found
    return captions_frame(columns, limits)
