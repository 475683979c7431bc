"""Samples as people look at them: the picture, the captions, every verdict with its reason, and what
operators saw.

cost = Cost()
for card in cards(session, [("00000", 17), ("00003", 4)], side=256, cost=cost):
    card.explanation.fate, card.picture, card.boxes
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from pipeline.decide.decide import decide
from pipeline.decide.decision import Decision
from pipeline.decide.evidence import Shows
from pipeline.decide.explain import Explanation, shard_explanations
from pipeline.decide.lookup import Place, with_uids
from pipeline.operator import Mark, Writer
from pipeline.ordered_map import ordered_map
from pipeline.plan.session import Session
from pipeline.progress import Tick, begun
from pipeline.run.decode import AT_ONCE, Room
from pipeline.view.pictures import COLUMNS, MOST_CAPTIONS, Look, Paint, looks, without_warnings
from pipeline.view.pictures import Cost as Cost
from pipeline.view.pictures import Picture as Picture

THREADS = 8  # shards that are looked at together: each waits for storage most of the time


@dataclass(frozen=True)
class Box:
    """A part of a picture that an operator found: its corners, (x, y) in pixels of the small picture, and the
    word that was read there, or "" if none was."""

    points: tuple[tuple[float, float], ...]
    word: str


Made = tuple[Explanation, Look, tuple[Box, ...]]


@dataclass(frozen=True)
class Card:
    """A sample.

    captions        all of them, the one that exports write first; none if it has no caption
    picture         None if it cannot be shown, for the reason in `why_no_picture`
    boxes           of text that operators found
    masked          the picture as an operator saw it, if that was asked for and it saw another one
    neighbours      (shard, row) of the samples that evidence names by uid, the nearest first
    """

    explanation: Explanation
    captions: tuple[str, ...]
    picture: Picture | None
    why_no_picture: str | None
    boxes: tuple[Box, ...]
    masked: Picture | None
    neighbours: tuple[Place, ...]


def cards(
    session: Session,
    places: Sequence[Place],
    side: int,
    cost: Cost,
    masked: bool | str = False,
    evidence: bool = True,
    done: Tick | None = None,
) -> list[Card]:
    """The samples at these places, in this order. The decision must be stored.

    side      most pixels of a picture's longer side
    cost      what the pictures cost is added to it
    masked    whether to show pictures as the first operator sees them that does not see them as they are, or
              the name of that operator
    evidence  whether to ask operators for it; without it there are no neighbours either
    done      called, in any thread, as samples are done; by default they are a loop of their own

    Each column of a shard is read once. A shard that is gone, or has changed since it was read, gives its
    cards a reason instead of pictures. Raises FileNotFoundError if a column of a rule is not stored."""
    by_shard: dict[str, list[int]] = {}
    for shard, row in dict.fromkeys(places):
        by_shard.setdefault(shard, []).append(row)
    found = dict[Place, Made]()
    decision = decide(session)
    tick = done or begun("looking at samples", len(dict.fromkeys(places)))
    look = _Looker(session, decision, Shows(session), side, masked, evidence, Room(AT_ONCE), tick)
    with without_warnings(), ThreadPoolExecutor(THREADS) as pool:
        for shard, of_shard, own in ordered_map(pool, THREADS, look, by_shard.items()):
            found |= {(shard, row): card for row, card in zip(by_shard[shard], of_shard, strict=True)}
            cost.add(own)
    near = _neighbours(session, [explanation for explanation, _, _ in found.values()])
    return [_card(*found[place], near) for place in places]


def painters(session: Session) -> list[str]:
    """The operators of a recipe that see pictures otherwise than they are, such as without their text."""
    return Shows(session).all_operators("shown")


@dataclass(frozen=True)
class _Looker:
    """Looks at samples of one shard after the other, on several threads at a time."""

    session: Session
    decision: Decision
    shows: Shows
    side: int
    masked: bool | str
    evidence: bool
    room: Room
    done: Tick

    def __call__(self, asked: tuple[str, Sequence[int]]) -> tuple[str, list[Made], Cost]:
        """The shard; the explanation, the look and the boxes of each of some of its rows; and the cost."""
        shard, rows = asked
        shows, cost = self.shows.another(), Cost()
        explained = shard_explanations(
            self.session, self.decision, shows if self.evidence else None, shard, rows
        )
        samples = self.session.columns.rows_at(shard, rows, COLUMNS).to_dicts()
        paints = _paints(shows, shard, rows, self.masked)
        seen = looks(self.session, shard, samples, paints, cost, self.side, self.room, self.done)
        boxes = [
            tuple(_box(mark, look.picture.scale) for mark in marks) if look.picture else ()
            for marks, look in zip(_marks(shows, shard, rows), seen, strict=True)
        ]
        return shard, list(zip(explained, seen, boxes, strict=True)), cost


def _card(explanation: Explanation, look: Look, boxes: tuple[Box, ...], near: Mapping[str, Place]) -> Card:
    """One card. `near`: the place of each uid that evidence names."""
    uids = (uid for uid in _named(explanation) if uid in near)
    own = (explanation.shard, explanation.row)
    neighbours = tuple(place for uid in uids if (place := near[uid]) != own)
    why = look.why if look.picture is None else None
    captions = dict.fromkeys((explanation.text, *explanation.captions, *look.captions))
    texts = tuple(text for text in captions if text is not None)[:MOST_CAPTIONS]
    return Card(explanation, texts, look.picture, why, boxes, look.painted, neighbours)


def _box(mark: Mark, scale: float) -> Box:
    """A mark on the small picture."""
    return Box(tuple((round(x * scale, 1), round(y * scale, 1)) for x, y in mark.corners), mark.label)


def _marks(shows: Shows, shard: str, rows: Sequence[int]) -> list[list[Mark]]:
    """What operators found in the picture of each of some rows."""
    found: list[list[Mark]] = [[] for _ in rows]
    for name in shows.all_operators("marks"):
        if (frame := shows.rows(name, shard, rows)) is not None:
            for at, marks in enumerate(found):
                marks += shows.operator(name).marks(frame[at])
    return found


def _paints(shows: Shows, shard: str, rows: Sequence[int], masked: bool | str) -> list[Paint]:
    """For each of some rows, how an operator sees its picture; none if that was not asked for."""
    names = [masked] if isinstance(masked, str) else shows.all_operators("shown")[: int(masked)]
    for name in names:
        frame = shows.rows(name, shard, rows)
        if frame is not None:
            return [_paint(shows.operator(name), frame[at]) for at in range(len(frame))]
    return []


def _paint(operator: Writer, row: pl.DataFrame) -> Callable[[np.ndarray], np.ndarray | None]:
    """How an operator sees the picture of a row."""
    return lambda pixels: operator.shown(row, pixels)


def _named(explanation: Explanation) -> list[str]:
    """The uids that an explanation's evidence names, each once."""
    rows: list[Any] = [row for table in explanation.evidence.values() for row in table]
    return list(dict.fromkeys(row["uid"] for row in rows if isinstance(row.get("uid"), str)))


def _neighbours(session: Session, explanations: Sequence[Explanation]) -> Mapping[str, Place]:
    """The place of every uid that evidence names. The pool's uids are read once, if there is any."""
    return with_uids(session, list(dict.fromkeys(u for e in explanations for u in _named(e))))
