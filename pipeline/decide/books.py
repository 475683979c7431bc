"""The books: how many samples were read, kept, dropped and failed, what could not be read, and at what speed.

All of it is merged from the store, so it is right after any number of kills and restarts. Counts come from
the decision, damaged shards from the footers of the samples, lost URLs from the files beside the shards, and
speeds from the logs of all runs.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.decide.decision import Decision
from pipeline.plan.session import Session
from pipeline.pool.img2dataset import GARBLED, losses_of
from pipeline.pool.listing.reasons import NO_STATS, PassedOver, summary
from pipeline.pool.shards import STATS
from pipeline.run.bottleneck import Bottleneck, bottleneck
from pipeline.run.log import RunLog, Speed, speeds
from pipeline.storage import layout
from pipeline.storage.identity import tells_rewrites


@dataclass(frozen=True)
class Books(Decision):
    """A decision and what became of the rest: listed = samples + sum(lost).

    listed       the URLs of a pool that was downloaded; of any other pool, its samples
    damaged      shard -> why and at which byte its file breaks off; what comes before is among the samples
    lost         reason -> URLs that were not downloaded, most frequent reason first
    passed_over  reason -> paths of the pool that are not shards for it; see pool/listing/reasons.py
    unwatched    shards whose storage tells neither an ETag nor a time of change: that such a file was
                 rewritten with as many bytes shows only when it is read
    pending      shard -> why it could not be read; its samples are not counted
    rewritten    shard -> how its file differs from the one that an earlier run read: it was done anew
    changed      shard -> what changed while this run read it: it was read again
    speeds       operator -> its speed, over all runs on the store, slowest first
    bottleneck   what bounded the speed of the run; None if it computed nothing
    """

    listed: int
    damaged: Mapping[str, str]
    lost: Mapping[str, int]
    passed_over: Mapping[str, PassedOver]
    unwatched: int
    pending: Mapping[str, str]
    rewritten: Mapping[str, str]
    changed: Mapping[str, str]
    speeds: Mapping[str, Speed]
    bottleneck: Bottleneck | None


@dataclass(frozen=True)
class Losses:
    """Losses of the pool, noted when it was listed and when its shards were read; see the same fields of
    Books."""

    damaged: Mapping[str, str]
    lost: Mapping[str, int]
    passed_over: Mapping[str, PassedOver]
    unwatched: int


def losses(session: Session) -> Losses:
    """What was passed over, the damage that stands in the footers of the samples, and the URLs that were lost
    by the files beside the shards. In a packed table the byte is that of the unpacked data. Raises
    ShardError."""
    damaged: dict[str, str] = {}
    lost: Counter[str] = Counter()
    read = [shard for shard in session.shards if shard.content]
    names = [shard.name for shard in read if session.sample_folders]
    for shard, footer in session.store.footers(layout.SAMPLES, names).items():
        if damage := footer.notes.get("damage"):
            damaged[shard] = f"{damage['reason']} (byte {damage['offset']})"
    passed_over = dict(session.passed_over)
    paths = {shard.name: shard.path for shard in read}
    for name, reasons in losses_of(session.store, read, session.kind.lost).items():
        if GARBLED in reasons:
            passed_over[f"the {STATS} beside {paths[name]}"] = NO_STATS
        lost.update({reason: count for reason, count in reasons.items() if count})
    ordered = dict(sorted(lost.items(), key=lambda item: (-item[1], item[0])))
    unwatched = sum(not tells_rewrites(shard.state) for shard in session.shards)
    return Losses(damaged, ordered, summary(passed_over), unwatched)


def books(
    session: Session, decision: Decision, pending: Mapping[str, str], log: RunLog | None = None
) -> Books:
    """The books of a decision. `pending`: the shards that could not be read, with reasons; `log`: of the run
    that computed the columns. Raises AssertionError if they do not balance."""
    if decision.samples != decision.kept + decision.dropped + decision.failed:
        raise AssertionError(f"the books do not balance: {decision}")
    lacking = losses(session)
    operators = speeds(session.store)
    return Books(
        **vars(decision),
        listed=decision.samples + sum(lacking.lost.values()),
        damaged=lacking.damaged,
        lost=lacking.lost,
        passed_over=lacking.passed_over,
        unwatched=lacking.unwatched,
        pending=pending,
        rewritten=log.rewritten if log else {},
        changed=log.changed if log else {},
        speeds=operators,
        bottleneck=bottleneck(log) if log else None,
    )
