"""The pictures of a report: cards of the chosen samples, as plain data for a page.

The number of cards, their texts and the bytes of their pictures are bounded, whatever the pool holds, so that
a page stays small.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from pipeline.decide.lookup import Place
from pipeline.plan.session import Session
from pipeline.schema import owner
from pipeline.view.cards import Card, Cost, Picture, cards
from pipeline.view.numbers.choices import Chosen
from pipeline.view.numbers.placeholders import Equals

MOST_NEIGHBOURS = 90  # cards that are there only because another sample's evidence names them
NEIGHBOURS = 3  # of one sample
MOST_BYTES = 10_000_000  # of all pictures in base64
MOST_TEXT = 2_000_000  # characters of all captions; then each is cut to SHORT
LONG, SHORT = 10_000, 300  # characters of a caption, and of other texts
EVIDENCE = 20  # rows of one operator's evidence
TOLD_BY_SIZE, TOLD_BY_URL = "file size, width and height", "URL"
TOO_LARGE = "left out, so that the page stays small"


@dataclass(frozen=True)
class RuleCard:
    """A rule's verdict on a sample; see RuleVerdict."""

    rule: str
    value: object
    bound: str
    verdict: str
    why: str | None
    draw: float | None


@dataclass(frozen=True)
class BoxCard:
    """A part of a picture: four corners in pixels of the small picture, and the word that was read."""

    points: Sequence[Sequence[float]]
    word: str


@dataclass(frozen=True)
class CardData:
    """A sample for a page; see Card and Explanation. `picture`, `masked`: data URIs; `neighbours`: ids of
    cards."""

    uid: str
    shard: str
    row: int
    key: str
    fate: str
    captions: Sequence[str]
    url: str | None
    width: int | None
    height: int | None
    lacks: str | None
    rules: Sequence[RuleCard]
    picture: str | None
    why_no_picture: str | None
    boxes: Sequence[BoxCard]
    masked: str | None
    evidence: Mapping[str, Sequence[Mapping[str, object]]]
    neighbours: Sequence[str]


@dataclass(frozen=True)
class PictureGroup:
    """Samples that are shown together. `rule`: None if they are about the whole decision; `ids`: of cards."""

    rule: str | None
    kind: str
    title: str
    ids: Sequence[str]


@dataclass(frozen=True)
class Pictures:
    """The groups, and every card by its id."""

    groups: Sequence[PictureGroup]
    cards: Mapping[str, CardData]


@dataclass(frozen=True)
class SamePicture:
    """Pictures of one file size, width and height: `count` samples with `captions` different captions. Of the
    `checked` ones that are shown, `identical` look the same."""

    count: int
    captions: int
    shown: Sequence[str]
    checked: int
    identical: int


@dataclass(frozen=True)
class SameCaption:
    """A caption of `count` samples with `pictures` different pictures, told apart by file size, width and
    height; of a pool without pictures, by URL."""

    count: int
    caption: str
    pictures: int
    shown: Sequence[str]


@dataclass(frozen=True)
class Placeholders:
    """What stands for something else: most samples first. `told_by`: what tells one picture from another, of
    a pool that has no digest of its pictures' bytes."""

    pictures: Sequence[SamePicture]
    captions: Sequence[SameCaption]
    told_by: str


class Album:
    """The cards of a report. `side`: pixels of a small picture; `cost`: what they cost is added to it."""

    def __init__(self, session: Session, side: int, cost: Cost) -> None:
        self.session = session
        self.side = side
        self.cost = cost
        self.made: dict[Place, Card] = {}
        self.ids: dict[Place, str] = {}

    def add(self, places: Sequence[Place]) -> None:
        """Make the cards of these samples, each once."""
        new = [place for place in dict.fromkeys(places) if place not in self.made]
        made = cards(self.session, new, self.side, self.cost, masked=True) if new else []
        for place, card in zip(new, made, strict=True):
            self.ids[place] = f"s{len(self.ids)}"
            self.made[place] = card

    def add_neighbours(self, chosen: Sequence[Chosen]) -> None:
        """Make cards of the nearest neighbours of those samples that were chosen by a rule whose operator
        names neighbours."""
        rules = self.session.recipe.keep
        near = list[Place]()
        for one in chosen:
            operator = owner(rules[one.group.rule].column) if one.group.rule else None
            for place in one.places:
                if operator in self.made[place].explanation.evidence:
                    near += self.made[place].neighbours[:NEIGHBOURS]
        self.add([place for place in dict.fromkeys(near) if place not in self.made][:MOST_NEIGHBOURS])

    def pictures(self, chosen: Sequence[Chosen]) -> Pictures:
        """The groups and all cards."""
        groups = [
            PictureGroup(
                one.group.rule,
                one.group.kind if one.group.rule else "random",
                one.group.title,
                [self.ids[place] for place in one.places],
            )
            for one in chosen
        ]
        return Pictures(groups, dict(self._data()))

    def placeholders(self, pictures: Sequence[Equals], captions: Sequence[Equals]) -> Placeholders:
        """The placeholders; their samples must have been added."""
        return Placeholders(
            [self._same_picture(equals) for equals in pictures],
            [
                SameCaption(e.count, e.text or "", len(e.others), [self.ids[p] for p in e.places])
                for e in captions
            ],
            TOLD_BY_SIZE if self.session.kind.has_images else TOLD_BY_URL,
        )

    def _same_picture(self, equals: Equals) -> SamePicture:
        """One picture under many captions: those shown are compared."""
        shown = [self.made[place].picture for place in equals.places]
        looks = Counter(picture.data for picture in shown if picture is not None)
        return SamePicture(
            equals.count,
            len(equals.others),
            [self.ids[place] for place in equals.places],
            looks.total(),
            max(looks.values(), default=0),
        )

    def _data(self) -> Iterator[tuple[str, CardData]]:
        """Every card as plain data, within the bounds."""
        room, text = MOST_BYTES, MOST_TEXT
        for place, card in self.made.items():
            data = self._card(card, LONG if text > 0 else SHORT)
            text -= sum(map(len, data.captions))
            room -= len(data.picture or "")
            if room < 0:
                data = replace(data, picture=None, boxes=[], why_no_picture=data.why_no_picture or TOO_LARGE)
            room -= len(data.masked or "")
            yield self.ids[place], data if room >= 0 else replace(data, masked=None)

    def _card(self, card: Card, most: int) -> CardData:
        """One card as plain data; a caption of at most so many characters."""
        told = card.explanation
        return CardData(
            uid=told.uid,
            shard=told.shard,
            row=told.row,
            key=_cut(told.key),
            fate=told.fate,
            captions=[_cut(caption, most if n == 0 else SHORT) for n, caption in enumerate(card.captions)],
            url=None if told.url is None else _cut(told.url, 2 * SHORT),
            width=told.width,
            height=told.height,
            lacks=told.lacks,
            rules=[RuleCard(r.rule, _plain(r.value), r.bound, r.verdict, r.why, r.draw) for r in told.rules],
            picture=_uri(card.picture),
            why_no_picture=card.why_no_picture,
            boxes=[BoxCard(box.points, _cut(box.word)) for box in card.boxes],
            masked=_uri(card.masked),
            evidence={
                name: [{key: _plain(value) for key, value in row.items()} for row in rows[:EVIDENCE]]
                for name, rows in told.evidence.items()
            },
            neighbours=[self.ids[place] for place in card.neighbours if place in self.ids][:EVIDENCE],
        )


def _uri(picture: Picture | None) -> str | None:
    """A small picture as a data URI."""
    return None if picture is None else picture.uri


def _cut(text: str, most: int = SHORT) -> str:
    """A text of at most so many characters."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _plain(value: object) -> object:
    """A value that JSON can hold, bounded."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value[:EVIDENCE]]
    return _cut(str(value))
