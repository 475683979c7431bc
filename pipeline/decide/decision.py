"""The counts of a decision: how many samples are kept, and what each rule did. `rules.json` holds them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class RuleCount:
    """One rule's bound, and on how many samples it gave which verdict.

    column       the column that the rule reads
    bound        the rule in words, with its cut: `>= 0.281 (top 30%)`
    cut          the value that a share (`top`, `bottom`) came to; None for other rules, or if no sample has a
                 value
    passes       samples that pass
    fails        samples that fail
    fails_only   samples that fail this rule and pass all others: what the rule alone removes
    dropped      samples that are dropped, and of whose failed rules this is the first
    passes_with  other rule -> samples that pass both
    failed       reason -> samples that have no value to judge, at the first rule where that happens
    """

    column: str
    bound: str
    cut: float | None
    passes: int
    fails: int
    fails_only: int
    dropped: int
    passes_with: Mapping[str, int]
    failed: Mapping[str, int]


@dataclass(frozen=True)
class Decision:
    """A recipe's rules, applied to a pool: samples = kept + dropped + failed."""

    recipe: str
    shards: int
    samples: int
    kept: int
    dropped: int
    failed: int
    rules: Mapping[str, RuleCount]

    def doubts(self) -> list[str]:
        """A line for each rule that no sample passes, though some have a value. As a rule its bound is
        mistyped, or the column has another range than was thought."""
        return [
            f"keep.{name}: no sample passes {rule.bound}; `winnow columns RECIPE {rule.column}` shows what "
            "there is"
            for name, rule in self.rules.items()
            if rule.fails and not rule.passes
        ]

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Decision":
        """The decision that a `rules.json` holds, as `Folder.read_json` reads it."""
        rules = {name: RuleCount(**counts) for name, counts in content["rules"].items()}
        return cls(**{**content, "rules": rules})
