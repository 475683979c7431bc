"""What one cut keeps and another does not, by rule.

    comparison = compare(a, b)
    print(comparison.jaccard, comparison.only_a.rules["clip.score"].first)

Counts are exact and memory is flat: the pools are read once, some shards at a time (`pairs.py`).
"""

from collections.abc import Iterator, Mapping

import polars as pl

from pipeline.decide.decide import decide
from pipeline.decide.decision import Decision
from pipeline.errors import RecipeError
from pipeline.plan.session import Session
from pipeline.view import rows
from pipeline.view.comparison.pairs import DRAW, Side, kept, matched_by, named, pairs, present
from pipeline.view.comparison.results import (
    ABSENT,
    BoundPair,
    Comparison,
    Cut,
    Handful,
    Loss,
    RuleLoss,
)

FIRST = "first"
SAMPLES = "samples"
SIDES: tuple[Side, Side] = ("a", "b")


def compare(
    a: Session, b: Session, labels: tuple[str, str] = ("", ""), pictures: int = 0, seed: int = 0
) -> tuple[Comparison, list[Handful]]:
    """Compare two cuts, and choose at most `pictures` samples of each side and rule. Decisions that are not
    stored are made. `labels`: what the recipes are called. Raises RecipeError if the two pools have no sample
    in common."""
    decisions = decide(a), decide(b)
    total: dict[str, int] = {}
    chosen: dict[Side, pl.DataFrame] = {}
    for frame in pairs(a, b, seed if pictures else None):
        _add(total, _patterns(frame).select(**_counts(a, b)).row(0, named=True))
        for side, other in _sides(a, b) if pictures else ():
            chosen[side] = _fewest(chosen.get(side), _lost(frame, side, other), pictures)
    comparison = _comparison(a, b, decisions, labels, total)
    if not comparison.in_both and comparison.a.samples and comparison.b.samples:
        raise RecipeError(_nothing_shared(comparison))
    return comparison, [Handful(side, _places(frame)) for side, frame in chosen.items()]


def _nothing_shared(comparison: Comparison) -> str:
    """What is wrong with two recipes over different pools, and the next step."""
    a, b = comparison.a, comparison.b
    return (
        f"pool: the two recipes have no sample in common, neither by shard and row nor by uid: {a.recipe} is over "
        f"{a.pool} ({a.samples:,} samples), {b.recipe} over {b.pool} ({b.samples:,}); compare recipes over one "
        "pool, or over copies of it that keep the uids"
    )


def _sides(a: Session, b: Session) -> list[tuple[Side, Session]]:
    """Each side with the session of the other."""
    return [("a", b), ("b", a)]


def _other(side: Side) -> Side:
    return "b" if side == "a" else "a"


# --- expressions over `pairs` ---------------------------------------------------------------------


def _patterns(frame: pl.DataFrame) -> pl.DataFrame:
    """The different verdicts and fates of a frame of `pairs`, with SAMPLES: how many samples have them. They
    are few, which makes counting three times as fast."""
    others = [DRAW, *(named(side, name) for side in SIDES for name in ("shard", "row"))]
    return frame.drop(others, strict=False).group_by(pl.all()).agg(pl.len().cast(pl.Int64).alias(SAMPLES))


def _counts(a: Session, b: Session) -> dict[str, pl.Expr]:
    """Every count over `_patterns`, by a name that `_loss` takes apart."""
    counts = {
        "in_both": present("a") & present("b"),
        "in_a": present("a") & ~present("b"),
        "in_b": present("b") & ~present("a"),
        "kept_a": kept("a"),
        "kept_b": kept("b"),
        "kept_both": kept("a") & kept("b"),
    }
    for side, other in _sides(a, b):
        gone = kept(side) & ~kept(_other(side))
        counts[f"{side} samples"] = gone
        counts[f"{side} absent"] = gone & ~present(_other(side))
        counts |= _rule_counts(side, other)
    return {name: (count.cast(pl.Int64) * pl.col(SAMPLES)).sum() for name, count in counts.items()}


def _rule_counts(side: Side, other: Session) -> dict[str, pl.Expr]:
    """The counts of RuleLoss, for each rule of the other side."""
    gone = kept(side) & present(_other(side)) & ~kept(_other(side))
    stopped = _stopped(side, other)
    first = _first(side, other)
    many = pl.sum_horizontal([stops.cast(pl.UInt16) for stops in stopped.values()]) if stopped else pl.lit(0)
    counts = {}
    for name, stops in stopped.items():
        verdict = pl.col(named(_other(side), rows.verdict(name)))
        counts[f"{side} first {name}"] = gone & (first == name)
        counts[f"{side} fails {name}"] = gone & ~verdict.fill_null(True)
        counts[f"{side} no_value {name}"] = gone & stops & verdict.is_null()
        counts[f"{side} alone {name}"] = gone & stops & (many == 1)
    return counts


def _stopped(side: Side, other: Session) -> dict[str, pl.Expr]:
    """Whether a sample does not get past a rule of the other side, by rule."""
    return {
        name: ~pl.col(named(_other(side), rows.verdict(name))).fill_null(rule.missing == "keep")
        for name, rule in other.recipe.keep.items()
    }


def _first(side: Side, other: Session) -> pl.Expr:
    """The first rule of the other side that a sample does not get past; ABSENT if the other pool lacks
    it."""
    names = [pl.when(stops).then(pl.lit(name, pl.String)) for name, stops in _stopped(side, other).items()]
    return pl.when(~present(_other(side))).then(pl.lit(ABSENT)).otherwise(pl.coalesce(*names, pl.lit(None)))


def _add(total: dict[str, int], counts: Mapping[str, int]) -> None:
    """Add counts to those so far."""
    for name, count in counts.items():
        total[name] = total.get(name, 0) + count


# --- results --------------------------------------------------------------------------------------


def _comparison(
    a: Session,
    b: Session,
    decisions: tuple[Decision, Decision],
    labels: tuple[str, str],
    total: dict[str, int],
) -> Comparison:
    """The counts as a Comparison."""
    either = total.get("kept_a", 0) + total.get("kept_b", 0) - total.get("kept_both", 0)
    return Comparison(
        matched_by=matched_by(a, b),
        a=_cut(a, decisions[0], labels[0]),
        b=_cut(b, decisions[1], labels[1]),
        bounds=list(_bounds(*decisions)),
        **{name: total.get(name, 0) for name in ("in_both", "in_a", "in_b", "kept_both")},
        only_a=_loss("a", decisions[1], total),
        only_b=_loss("b", decisions[0], total),
        jaccard=total.get("kept_both", 0) / either if either else 1.0,
    )


def _cut(session: Session, decision: Decision, label: str) -> Cut:
    """One side."""
    return Cut(
        recipe=label or session.recipe.name,
        pool=session.root,
        shards=decision.shards,
        samples=decision.samples,
        kept=decision.kept,
    )


def _bounds(a: Decision, b: Decision) -> Iterator[BoundPair]:
    """The rules of both sides: first those that differ, each in the order of the recipes."""
    names = dict.fromkeys([*a.rules, *b.rules])
    told = [BoundPair(name, *(_bound(decision, name) for decision in (a, b))) for name in names]
    yield from sorted(told, key=lambda pair: pair.a == pair.b)


def _bound(decision: Decision, name: str) -> str | None:
    """A rule's bound in words, with its column if that is not its name."""
    if (rule := decision.rules.get(name)) is None:
        return None
    return rule.bound if rule.column == name else f"{rule.column} {rule.bound}"


def _loss(side: Side, other: Decision, total: Mapping[str, int]) -> Loss:
    """What a side keeps and the other does not."""
    rules = {
        name: RuleLoss(
            bound=rule.bound,
            **{kind: total.get(f"{side} {kind} {name}", 0) for kind in (FIRST, "fails", "no_value", "alone")},
        )
        for name, rule in other.rules.items()
    }
    return Loss(total.get(f"{side} samples", 0), total.get(f"{side} absent", 0), rules)


# --- a handful ------------------------------------------------------------------------------------


def _lost(frame: pl.DataFrame, side: Side, other: Session) -> pl.DataFrame:
    """The samples of a frame that a side keeps and the other does not: `first`, `draw`, `shard`, `row`."""
    gone = frame.filter(kept(side) & ~kept(_other(side)))
    place = [
        pl.coalesce(named(_other(side), name), named(side, name)).alias(name) for name in ("shard", "row")
    ]
    return gone.select(_first(side, other).alias(FIRST), DRAW, *place)


def _fewest(held: pl.DataFrame | None, new: pl.DataFrame, count: int) -> pl.DataFrame:
    """Of each rule the `count` samples with the lowest draws, lowest first."""
    both = new if held is None else pl.concat([held, new])
    return both.sort(DRAW, "shard", "row").group_by(FIRST, maintain_order=True).head(count)


def _places(frame: pl.DataFrame) -> dict[str, list[tuple[str, int]]]:
    """The places of chosen samples by rule."""
    places: dict[str, list[tuple[str, int]]] = {}
    for name, shard, row in frame.select(FIRST, "shard", "row").iter_rows():
        places.setdefault(name, []).append((shard, row))
    return places
