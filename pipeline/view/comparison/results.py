"""What a comparison of two cuts says. `winnow compare --json` prints a `Comparison`."""

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.view.comparison.pairs import Side

ABSENT = ""  # stands for the rule of samples that the other pool lacks: no rule has this name


@dataclass(frozen=True)
class Cut:
    """One side of a comparison: a recipe and what it keeps."""

    recipe: str
    pool: str
    shards: int
    samples: int
    kept: int


@dataclass(frozen=True)
class BoundPair:
    """A rule's bound on each side, in words; None on the side that has no rule of this name."""

    rule: str
    a: str | None
    b: str | None

    @property
    def same(self) -> bool:
        """Whether both sides have the rule with one bound."""
        return self.a == self.b


@dataclass(frozen=True)
class RuleLoss:
    """Of the samples that the other side keeps and this rule's side does not:

    bound     the rule in words
    first     samples whose first rule without a pass this is: each sample counts once
    fails     samples that fail it
    no_value  samples without a value for it, which it needs
    alone     samples that pass all other rules
    """

    bound: str
    first: int
    fails: int
    no_value: int
    alone: int


@dataclass(frozen=True)
class Loss:
    """The samples that one side keeps and the other does not.

    samples  how many they are
    absent   how many of them are not in the other side's pool at all
    rules    by rule of the other side, what it does to the rest
    """

    samples: int
    absent: int
    rules: Mapping[str, RuleLoss]


@dataclass(frozen=True)
class Comparison:
    """Two cuts beside each other.

    matched_by      `shard and row`, or `uid` if the pools' shards differ
    bounds          every rule of either side, those that differ first
    in_both         samples that are in both pools; `in_a`, `in_b`: in one of them alone
    kept_both       samples that both keep
    only_a, only_b  the samples that one keeps and the other does not
    jaccard         kept by both / kept by either; 1 if neither keeps any
    """

    matched_by: str
    a: Cut
    b: Cut
    bounds: list[BoundPair]
    in_both: int
    in_a: int
    in_b: int
    kept_both: int
    only_a: Loss
    only_b: Loss
    jaccard: float


@dataclass(frozen=True)
class Handful:
    """A few samples that side `side` keeps and the other does not, by the other's first rule without a pass
    (ABSENT: the other pool lacks them): their places (shard, row) in the other pool, or in the side's own if
    the other lacks them. The lowest draws, so that the choice depends on the seed and the uids alone."""

    side: Side
    places: Mapping[str, list[tuple[str, int]]]
