"""The page of `winnow compare --out`: one file of HTML, with the pictures inside and without scripts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline.plan.session import Session
from pipeline.view.cards import Card, Cost, cards
from pipeline.view.comparison.results import ABSENT, Comparison, Handful
from pipeline.view.door.html import render

SIDE = 224  # pixels of the longer side of a thumbnail


@dataclass(frozen=True)
class Section:
    """The cards of some samples that one side keeps and the other does not.

    other  `A` or `B`: the side that does not keep them
    title  what they have in common
    count  how many such samples there are in all
    """

    other: str
    title: str
    count: int
    cards: Sequence[Card]


def page(a: Session, b: Session, comparison: Comparison, handfuls: Sequence[Handful], cost: Cost) -> bytes:
    """The page as UTF-8. What the pictures cost is added to `cost`."""
    sections = [section for handful in handfuls for section in _sections(a, b, comparison, handful, cost)]
    return render("compare.html", **vars(comparison), sections=sections).encode()


def _sections(
    a: Session, b: Session, comparison: Comparison, handful: Handful, cost: Cost
) -> Iterator[Section]:
    """The cards of one side, by the other side's rules in their order. A card explains the decision of the
    side that does not keep the sample, unless its pool lacks it."""
    own, other, loss, name = (
        (a, b, comparison.only_a, "B") if handful.side == "a" else (b, a, comparison.only_b, "A")
    )
    for rule, counts in loss.rules.items():
        if rule in handful.places:
            shown = cards(other, handful.places[rule], SIDE, cost)
            yield Section(name, f"first stopped by {rule} {counts.bound}", counts.first, shown)
    if ABSENT in handful.places:
        shown = cards(own, handful.places[ABSENT], SIDE, cost)
        yield Section(name, f"not in the pool of {name}", loss.absent, shown)
