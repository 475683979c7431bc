"""The books of a download: every URL of the list is downloaded, or lost for a reason."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from jobs.ingest.download import Fetched
from pipeline.pool.img2dataset import reasons


@dataclass(frozen=True)
class DownloadSummary:
    """Books that balance, as plain data: listed = downloaded + sum(lost). See Books for the fields."""

    listed: int
    downloaded: int
    shards: int
    lost: Mapping[str, int]
    pending: Mapping[str, str]
    damaged: Mapping[str, str]


@dataclass
class Books:
    """listed = downloaded + lost, over the shards that are done.

    `pending` names the shards that are not done, `damaged` the files of the list that are cut off; each with
    the reason.
    """

    listed: int = 0
    downloaded: int = 0
    shards: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    pending: dict[str, str] = field(default_factory=dict)
    damaged: dict[str, str] = field(default_factory=dict)

    def add_shard(self, fetched: Fetched) -> None:
        """Count a shard that is done, or note why it is not."""
        if fetched.error is not None:
            self.pending[fetched.name] = fetched.error
            return
        self.shards += 1
        self.listed += fetched.stats["count"]
        self.downloaded += fetched.stats["successes"]
        self.lost.update(reasons(fetched.stats))

    def summary(self) -> DownloadSummary:
        """The books so far, most frequent loss first. Raises AssertionError if they do not balance."""
        if self.listed != self.downloaded + self.lost.total():
            raise AssertionError(f"the books do not balance: {self}")
        lost = sorted(self.lost.items(), key=lambda item: (-item[1], item[0]))
        return DownloadSummary(**{**vars(self), "lost": dict(lost)})
