"""Samples that a notebook shows as cards: pictures, captions, verdicts and reasons."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import overload

from pipeline.view.cards import Card
from pipeline.view.door.html import render, shown, value


@dataclass(frozen=True, repr=False)
class Cards(Sequence[Card]):
    """Some samples. A sequence of `Card`; a notebook shows it as pictures.

    cards  the samples, in order
    open   whether every rule's verdict and the operators' evidence are shown at once
    """

    cards: tuple[Card, ...]
    open: bool = False

    def __len__(self) -> int:
        return len(self.cards)

    @overload
    def __getitem__(self, index: int) -> Card: ...

    @overload
    def __getitem__(self, index: slice) -> "Cards": ...

    def __getitem__(self, index: int | slice) -> "Card | Cards":
        return Cards(self.cards[index], self.open) if isinstance(index, slice) else self.cards[index]

    def __repr__(self) -> str:
        return "\n".join(line for card in self.cards for line in self._lines(card)) or "no samples"

    def _repr_html_(self) -> str:
        return render("thumbnails.html", cards=self.cards, open=self.open)

    def _lines(self, card: Card) -> Iterator[str]:
        """A card as text."""
        sample = card.explanation
        caption = shown(card.captions[0]) if card.captions else "no caption"
        yield f"{sample.uid} {sample.fate} {shown(sample.shard)}/{sample.row} {caption}"
        for rule in sample.rules if self.open else ():
            why = f" ({shown(rule.why)})" if rule.why else ""
            yield f"  {shown(rule.rule)} {value(rule.value)}, {shown(rule.bound)}: {rule.verdict}{why}"
