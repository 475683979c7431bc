"""What a gallery says of a sample: what became of it and why, the value that it is sorted by, its caption."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from unicodedata import category

from pipeline.decide.explain import NO_VALUE, Explanation, RuleVerdict
from pipeline.decide.lookup import Place
from pipeline.errors import printable, shortened, unmistakable
from pipeline.plan.session import Session
from pipeline.view.cards import Card

NO_CAPTION = "no caption"
SHOWN = ("Cf", "Zs", "Zl", "Zp")  # Unicode's categories of characters that are not printable, and harmless
MOST_CAPTION = 10_000  # characters that are shown


@dataclass(frozen=True)
class Label:
    """The texts beside a picture. Captions are as they are, but for control characters: on a page they stand
    in elements of their own, which marks of text direction cannot leave.

    fate    `kept`, `dropped` or `failed`; empty if nothing was decided
    value   `clip.score = 0.2812`; empty if the gallery is not sorted by a column
    reason  why a sample is not kept: each rule that it fails, or that has no value for it
    """

    uid: str
    name: str
    fate: str
    value: str
    reason: str
    captions: tuple[str, ...]
    why_no_picture: str


def label(card: Card, value: str) -> Label:
    """The label of a card."""
    explanation = card.explanation
    return Label(
        explanation.uid,
        printable(f"{explanation.shard}/{explanation.key}"),
        explanation.fate,
        value,
        reason(explanation),
        tuple(plain(shortened(text, MOST_CAPTION)) for text in card.captions) or (NO_CAPTION,),
        printable(card.why_no_picture or ""),
    )


def plain(text: str) -> str:
    """A text with its control characters escaped; marks of direction and joined emoji stay whole."""
    return "".join(c if c.isprintable() or category(c) in SHOWN else printable(c) for c in text)


def reason(explanation: Explanation) -> str:
    """Each rule that a sample fails, with value and bound, and the rules that need a value and have none, by
    the reason. Of a failed sample the reasons come first: they are why it failed."""
    fails = [fault(rule) for rule in explanation.rules if rule.verdict == "fails"]
    lacking: dict[str, list[str]] = {}
    for rule in explanation.rules:
        if rule.verdict == NO_VALUE:
            lacking.setdefault(printable(rule.why or NO_VALUE), []).append(rule.rule)
    lacks = [f"{', '.join(names)}: {why}" for why, names in lacking.items()]
    return "; ".join((*lacks, *fails) if explanation.fate == "failed" else (*fails, *lacks))


def fault(rule: RuleVerdict) -> str:
    """Why a sample fails a rule: its value, and the bound or the draw."""
    bound = f"not {printable(rule.bound)}" if rule.draw is None else f"its draw is {figure(rule.draw)}"
    return f"{rule.rule} {figure(rule.value)}, {bound}"


def figure(value: object) -> str:
    """A value as text: floats with four digits, `-` for none."""
    if value is None:
        return "-"
    text = f"{value + 0.0:.4g}" if isinstance(value, float) else unmistakable(str(value))  # -0.0 is 0
    return printable(shortened(text))


def values(session: Session, places: Sequence[Place], column: str | None) -> Mapping[Place, str]:
    """What each sample has in a column: `clip.score = 0.2812`. Each shard is read once."""
    if column is None:
        return {}
    by_shard: dict[str, list[int]] = {}
    for shard, row in dict.fromkeys(places):
        by_shard.setdefault(shard, []).append(row)
    return {
        (shard, row): f"{column} = {figure(value)}"
        for shard, rows in by_shard.items()
        for row, value in zip(rows, session.columns.rows_at(shard, rows, [column])[column], strict=True)
    }
