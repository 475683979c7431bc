"""What an export was made from, for its manifest: an export is as new as the digests in it.

    inputs = Inputs(session, {"caption", "clip"})
    manifest = {"export": "shards", **inputs.manifest, ...}
    inputs.verify("export.shards")       # raises ChangedError if the store has changed since

A decision's name covers the rules and what they read. The columns that an export copies beside that may
change under an unchanged decision: their parts are told apart by the notes and seals in their footers.
"""

from collections.abc import Iterable
from typing import Any

import orjson

from pipeline.errors import ChangedError
from pipeline.plan.session import Session
from pipeline.schema import owner
from pipeline.storage import layout
from pipeline.storage.identity import Digest


class Inputs:
    """The decision that an export writes and the columns that it reads. `operators`: the operators, by name,
    whose columns it reads, beside the samples."""

    def __init__(self, session: Session, operators: Iterable[str] = ()) -> None:
        self.session = session
        self.folders = [*session.sample_folders, *map(session.folder, sorted(set(operators)))]
        self.manifest = self._digests()

    def _digests(self) -> dict[str, Any]:
        """The decision, and the digests of its verdicts and of each folder of columns, as they are now."""
        return {
            "decision": self.session.decisions,
            "verdicts": verdicts_digest(self.session),
            "inputs": {folder: parts_digest(self.session, folder) for folder in self.folders},
        }

    def verify(self, key: str) -> None:
        """Raises ChangedError if another run has changed the decision or the columns. `key`: the export's
        key in the recipe."""
        try:
            unchanged = self._digests() == self.manifest
        except FileNotFoundError:
            unchanged = False
        if not unchanged:
            raise ChangedError(
                f"{key}: the store has changed while this was written, so it is not what the decision says; "
                "an earlier export is left as it was; run the same command again"
            )


def operators_of(session: Session, columns: Iterable[str | None]) -> set[str]:
    """The recipe's operators that write these columns; others are the samples' own or the pool's."""
    owners = {owner(column) for column in columns if column}
    return {name for name in session.recipe.compute if name in owners}


def verdicts_digest(session: Session) -> str:
    """The digest of a decision's counts, and of which rows of which file are a shard's verdicts. Raises
    FileNotFoundError without a decision."""
    digest = Digest()
    for path in (layout.rules(session.decisions), layout.decided_shards(session.decisions)):
        digest.update(session.store.root.read(path))
    return digest.hexdigest()


def parts_digest(session: Session, folder: str) -> str:
    """The digest of which shards of the session have a part in a folder, and of what identifies each part."""
    footers = session.store.footers(folder, [shard.name for shard in session.shards])
    parts = [[shard, *footer.identity] for shard, footer in footers.items()]
    digest = Digest()
    digest.update(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS))
    return digest.hexdigest()
