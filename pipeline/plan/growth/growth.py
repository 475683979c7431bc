"""Whether an index grows: whether the rows of new shards can be added to the one that lies in its folder.

    found = growth_of(manifest, index_identity(session, section), section, before, lambda: now)
    found                      -> Growth: what is added. Or a text: why the index is built anew

An index without training (`Flat`) grows to the bytes that it would have if it were built anew. All others
depend on the rows that they were trained for, and on the queries that were drawn of them, so they grow only
if the recipe says `grow: true`. The shards that an index holds must be the first shards of the pool, with the
same rows kept and the same embeddings: then its ids stay as they are.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import polars as pl
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from pipeline.errors import brief
from pipeline.plan.cluster import GIB
from pipeline.plan.growth.sources import DIGESTS
from pipeline.plan.index_choice import Shape, choose, cut, part_rows, shape_of
from pipeline.plan.session import Session
from pipeline.recipe.faiss_factory import check_factory
from pipeline.recipe.sections import Index
from pipeline.schema import owner
from pipeline.storage import layout

FORMAT = 2  # of an index's folder; raise it if what a manifest says changes
EXACT = "Flat"  # the index that needs no training and no queries
MOST_GROWTH = 2  # times the rows that an index was trained for

Count = Annotated[int, Field(ge=0, lt=2**40)]
Shards = Callable[[], pl.DataFrame]


class EditedError(ValueError):
    """A file of an index is not as it was written; the message says which."""


class LivePart(BaseModel):
    """A file of an index that was left in parts."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    rows: Count


class Noted(BaseModel):
    """What the manifest says under `growth`. `trained_rows`: the rows that the index had when it was
    trained; None if it needs no training."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    trained_rows: Count | None


class Live(BaseModel):
    """What the manifest of a finished index says, as far as growing goes by it."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    key: Annotated[str, AfterValidator(check_factory)]
    dimension: Annotated[int, Field(ge=1, le=65_536)]
    rows: Count
    missing: Count
    parts: list[LivePart] = []
    growth: Noted

    @property
    def shape(self) -> Shape:
        """Of the index."""
        return shape_of(self.key, self.dimension)


@dataclass(frozen=True)
class Growth:
    """How an index grows.

    live     the index as it is
    before   `sources.parquet`: the shards that it holds, and how many rows of each
    added    the shards that follow, as `sources_now` has them
    """

    live: Live
    before: pl.DataFrame
    added: pl.DataFrame

    @property
    def rows(self) -> int:
        """The kept samples that are added, with or without an embedding."""
        return int(self.added["kept"].sum())

    @property
    def counts(self) -> dict[str, int]:
        """Kept samples by shard, of all shards that the index then holds."""
        held = self.before.select("shard", kept=pl.col("rows") + pl.col("missing"))
        return dict(pl.concat([held, self.added.select("shard", "kept")]).iter_rows())

    def told(self) -> str:
        """`adds 2 shards, 20,000 rows to 1,000,000`, and what it was trained for."""
        if not len(self.added):
            return f"adds nothing to its {self.live.rows:,} rows"
        trained = self.live.growth.trained_rows
        shards = f"{len(self.added):,} shard{'' if len(self.added) == 1 else 's'}"
        after = "" if trained is None else f"; {self.live.key} was trained for {trained:,} rows"
        return f"adds {shards}, {self.rows:,} rows to {self.live.rows:,}{after}"


def index_identity(session: Session, section: Index) -> dict[str, Any]:
    """What the bytes of an index depend on, besides the decision and the columns in the store."""
    operator = owner(section.embedding)
    return {
        "export": "index",
        "format": FORMAT,
        "embedding": section.embedding,
        "columns": session.folder(operator) if operator is not None else layout.SAMPLES,
        "factory": section.factory,
        "memory": section.memory,
        "recall": section.recall,
        "metric": "inner_product",
        **session.recipe.export.chosen_caption(),
    }


def growth_of(
    manifest: Mapping[str, Any],
    identity: Mapping[str, Any],
    section: Index,
    before: Shards,
    now: Shards,
) -> Growth | str:
    """How the finished index that a manifest describes grows, or why it cannot. `before`, `now`: its sources
    and those of the store, asked for only if the manifest allows it; `before` raises FileNotFoundError,
    ValueError, and EditedError, whose message is the reason."""
    for name in dict.fromkeys((*identity, "caption")):
        if (had := manifest.get(name)) != (value := identity.get(name)):
            if name == "columns":
                return f"its embeddings are {had}, and those of the recipe are {value}"
            return f"{name} was {brief(had)} and is {brief(value)}"
    if "growth" not in manifest:
        return "an earlier version wrote it, which did not note its shards"
    try:
        live, sources = Live.model_validate(manifest), before()
        if (sources["rows"].sum(), sources["missing"].sum()) != (live.rows, live.missing):
            raise ValueError
    except EditedError as error:
        return str(error)
    except (ValidationError, ValueError, FileNotFoundError):
        return "its manifest and its sources.parquet do not fit each other"
    if not live.shape.divisible:
        return f"nothing can be added to {live.key}, which is built as a whole"
    shards = now()
    if reason := _difference(sources, shards):
        return reason
    growth = Growth(live, sources, shards.slice(len(sources)))
    return _why_too_large(growth, section) or _why_not_wished(growth, section) or growth


def _difference(before: pl.DataFrame, now: pl.DataFrame) -> str:
    """Why the shards of an index are not the first of those with kept samples; empty if they are."""
    there = set(now["shard"])
    columns = ["shard", *DIGESTS]
    rows = zip(before.select(columns).iter_rows(), now.select(columns).iter_rows(), strict=False)
    for (shard, *digests), (following, *others) in rows:
        if shard not in there:
            return f"no sample of shard {shard} is kept any more"
        if shard != following:
            return f"shard {following} comes before {shard}, which it holds"
        for name, was, is_now in zip(DIGESTS, digests, others, strict=True):
            if was != is_now:
                what = "other samples of shard {} are kept" if name == "verdicts" else "shard {} has changed"
                return what.format(shard)
    if len(before) > len(now):
        return f"no sample of shard {before['shard'][len(now)]} is kept any more"
    return ""


def _why_too_large(growth: Growth, section: Index) -> str:
    """Why the index would be another one with so many rows; empty if it would not."""
    live, memory, counts = growth.live, section.memory * GIB, growth.counts
    rows = live.rows + growth.rows
    if section.factory == "auto":
        # auto goes by the kept samples, and counts those with an embedding only if it trains
        chosen = choose(sum(counts.values()) if live.key == EXACT else rows, live.dimension, memory)
        if chosen != live.key:
            return f"auto takes {chosen} for {rows:,} rows, and it is {live.key}"
    trained = live.growth.trained_rows
    if trained is not None and rows > MOST_GROWTH * trained:
        return f"{rows:,} rows are more than twice the {trained:,} that it was trained for"
    runs = cut(list(counts), counts, part_rows(live.shape))
    joined = len(runs) == 1 or live.shape.bytes(rows) <= memory
    if not live.parts:
        return "" if joined else f"with {rows:,} rows it no longer fits memory: {section.memory:g}"
    sizes = dict(growth.before.select("shard", "rows").iter_rows())
    held = [sum(sizes.get(shard, 0) for shard in run) for run in runs]
    same = [part.rows for part in live.parts] == held[: len(live.parts)]
    return "" if same and not joined else "its parts are cut in another way"


def _why_not_wished(growth: Growth, section: Index) -> str:
    """Why the recipe does not want an index to grow; empty if it does."""
    live = growth.live
    if live.key == EXACT or section.grow:
        return ""
    trained = live.growth.trained_rows
    return (
        f"{live.key} was trained for {trained:,} rows; `grow: true` would keep that, and add "
        f"{growth.rows:,} rows to its {live.rows:,}"
    )
