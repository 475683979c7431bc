"""Winnow in a notebook: a recipe's pool as polars LazyFrames, its decision as objects that show themselves.

    from pipeline.view.notebook import open_recipe

    pool = open_recipe("recipe.yaml", set=["keep.clip.score.top=0.2"])
    pool.funnel()                                                     # how many samples each rule removes
    near = pool.frame.filter(pl.col("fate") == "dropped").select("shard", "row", "clip.score")
    pool.thumbnails(near.sort("clip.score", descending=True).head(12).collect())
    pool.explain("5413834969f9c2dd33978af2d3b228cf")                  # one sample: picture, rules, reasons
    pool.with_rules({"clip.score": {"top": 0.3}}).funnel()            # what if?

Nothing is computed here: run `winnow compute recipe.yaml` first. Decisions are made from stored columns, in
seconds, and kept in the store as those of `winnow keep` are. The frames are lazy: `collect()` reads the
columns that a query needs, and no others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from os import PathLike, fspath
from typing import Any

import orjson
import polars as pl

from pipeline.decide.decide import decide
from pipeline.decide.decision import Decision
from pipeline.decide.lookup import find
from pipeline.errors import RecipeError, brief
from pipeline.plan.session import Session
from pipeline.plan.stored import complete
from pipeline.recipe.load import load
from pipeline.view.cards import Cost, cards
from pipeline.view.comparison.compare import compare
from pipeline.view.comparison.results import Comparison
from pipeline.view.door.funnel import Funnel
from pipeline.view.door.scan import operator_columns, own_columns, scan, verdict_columns
from pipeline.view.door.shown import Cards

SIDE = 192  # pixels of the longer side of a thumbnail
MOST_THUMBNAILS = 500  # of one call: a page of a notebook holds them all


def open_recipe(path: str | PathLike[str], set: Sequence[str] = (), shards: int | None = None) -> "Pool":
    """The pool of a recipe with its decision. `set`: changes, as `--set` takes them. `shards`: use the first
    shards only. Shards that are not computed yet are left out (`pool.pending` names them). Raises
    RecipeError."""
    address, overrides = fspath(path), tuple(set)
    return Pool(address, overrides, Session.open(load(address, overrides), shards))


@dataclass(frozen=True, repr=False)
class Pool:
    """A pool under one set of rules. Made by `open_recipe` and `with_rules`.

    path       of the recipe
    overrides  the changes to it
    opened     the session over all shards; `session` is over those that are computed
    """

    path: str
    overrides: tuple[str, ...]
    opened: Session

    @cached_property
    def session(self) -> Session:
        """The recipe with the shards that have every column that its rules and exports read."""
        return complete(self.opened)

    @property
    def pending(self) -> list[str]:
        """The names of the shards that are left out, as they are not computed yet."""
        done = {shard.name for shard in self.session.shards}
        return [shard.name for shard in self.opened.shards if shard.name not in done]

    @cached_property
    def decision(self) -> Decision:
        """The counts of the decision, which is made if it is not stored yet."""
        return decide(self.session)

    # --- frames: each begins with `shard` and `row`, in equal order, and can be joined by them ----------

    @cached_property
    def samples(self) -> pl.LazyFrame:
        """What samples have by themselves: uid, key, text, url, sides, and where their files lie."""
        return scan(self.session, own_columns(self.session))

    @cached_property
    def columns(self) -> pl.LazyFrame:
        """The columns of the operators that are computed, under their full names: `clip.score`."""
        return scan(self.session, operator_columns(self.session))

    @cached_property
    def verdicts(self) -> pl.LazyFrame:
        """`rule:NAME`, Boolean, per rule: whether a sample passes, null if it has no value to judge. And
        `fate`: `kept`, `dropped` or `failed`."""
        return self._decided(verdict_columns(self.session))

    @cached_property
    def frame(self) -> pl.LazyFrame:
        """Samples, columns and verdicts beside each other: the three frames joined, at no cost."""
        session = self.session
        return self._decided(own_columns(session) | operator_columns(session) | verdict_columns(session))

    def _decided(self, schema: Mapping[str, Any]) -> pl.LazyFrame:
        """A scan that may read verdicts: the decision is there before it begins."""
        assert self.decision
        return scan(self.session, schema)

    # --- the decision -----------------------------------------------------------------------------------

    def funnel(self) -> Funnel:
        """How many samples each rule removes."""
        return Funnel(self.decision)

    def with_rules(self, rules: Mapping[str, Mapping[str, Any] | None]) -> "Pool":
        """The same pool under other rules: `{"clip.score": {"top": 0.2}}` changes keys of a rule or adds one,
        `{"clip.score": None}` takes it out; as `--set` does. The recipe's file stays as it is. Raises
        RecipeError."""
        changes = [*self.overrides, *(line for name, keys in rules.items() for line in _changes(name, keys))]
        recipe = load(self.path, changes)
        opened = replace(self.opened, recipe=recipe)
        return Pool(self.path, tuple(changes), opened)

    def compare(self, other: "Pool") -> Comparison:
        """What this cut keeps and another does not (`only_a`), and the other way round (`only_b`), by rule,
        as `winnow compare` counts it. Raises RecipeError if the pools have no sample in common."""
        return compare(self.session, other.session)[0]

    # --- samples ----------------------------------------------------------------------------------------

    def explain(self, *words: str, side: int = 2 * SIDE) -> Cards:
        """Samples with their pictures, every rule's verdict and the operators' evidence. `words`: uids,
        beginnings of uids, or keys. Raises RecipeError for a word that names no sample of the pool."""
        found = find(self.session, words)
        if found.unknown:
            raise RecipeError("\n".join(found.unknown))
        return self._cards(found.places, side, full=True)

    def thumbnails(self, rows: pl.DataFrame, side: int = SIDE) -> Cards:
        """The samples of a frame's rows as small pictures, in the frame's order. `rows`: at most
        MOST_THUMBNAILS, with the columns `shard` and `row`; `side`: pixels of the longer side. Raises
        RecipeError."""
        if lacking := {"shard", "row"}.difference(rows.columns):
            raise RecipeError(
                f"thumbnails: the frame has no column {', '.join(sorted(lacking))}; select it too"
            )
        if len(rows) > MOST_THUMBNAILS:
            raise RecipeError(
                f"thumbnails: the frame has {len(rows):,} rows, at most {MOST_THUMBNAILS} are shown; take `.head(60)` "
                "or `.sample(60, seed=0)`"
            )
        return self._cards(list(rows.select("shard", "row").iter_rows()), side)

    def _cards(self, places: Sequence[tuple[str, int]], side: int, full: bool = False) -> Cards:
        """The samples at these places."""
        assert self.decision
        return Cards(tuple(cards(self.session, places, side, Cost(), masked=full)), open=full)

    def __repr__(self) -> str:
        return f"{self._title()}: {self.decision.kept:,} of {self.decision.samples:,} samples kept"

    def _repr_html_(self) -> str:
        return self.funnel().html(self._title())

    def _title(self) -> str:
        """The recipe and how much of its pool is there."""
        done, listed = len(self.session.shards), len(self.opened.shards)
        return f"{self.session.recipe.name}, {done:,} of {listed:,} shards"


def _changes(name: str, keys: Mapping[str, Any] | None) -> list[str]:
    """A change to a rule as lines for `--set`. Raises RecipeError."""
    if keys is None:
        return [f"keep.{name}=null"]
    if not isinstance(keys, Mapping) or not keys:
        raise RecipeError(
            f'keep.{name}: must be a mapping such as {{"top": 0.2}}, or None, got {brief(keys)}'
        )
    return [f"keep.{name}.{key}={orjson.dumps(value).decode()}" for key, value in keys.items()]
