"""A kind of input: how it is made, and what must come of it.

Kind("pax record of length 0", tar(pax(b"0 path=a\\n")), damaged("garbled pax records"))
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tests.corpus.pool import OddPool

Build = Callable[[OddPool], None]


@dataclass(frozen=True)
class Outcome:
    """What `winnow run` leads to.

    status   its exit status
    says     texts that its books or its messages contain
    samples  how many samples the odd input adds to the books; None if any number is right
    failed   how many of these fail
    refused  whether `winnow plan` refuses it too, with the same texts, before any work
    """

    status: int
    says: tuple[str, ...] = ()
    samples: int | None = 0
    failed: int = 0
    refused: bool = False


@dataclass(frozen=True)
class Kind:
    """One kind: a sentence that names it, what makes it, what comes of it, and the environment of the
    commands, in which None stands for a variable that is not set."""

    name: str
    build: Build
    outcome: Outcome
    environment: Mapping[str, str | None] = field(default_factory=dict)


def reads(samples: int = 1, *says: str) -> Outcome:
    """Nothing is wrong: all samples are read, and none fails."""
    return Outcome(0, says, samples)


def fails(*says: str, samples: int = 1, failed: int = 1) -> Outcome:
    """The sample fails with this reason, and nothing else does."""
    return Outcome(0, says, samples, failed)


def damaged(*says: str, samples: int | None = 0) -> Outcome:
    """The shard breaks off, for this reason; the samples before the break are read."""
    return Outcome(1, says, samples)


def unread(*says: str) -> Outcome:
    """The shard cannot be read, or is none, and the message says why; all other shards are done."""
    return Outcome(1, says, 0)


def downloads(*says: str) -> Outcome:
    """A list of URLs is read, and something is downloaded or not; the JSON of its books holds the texts."""
    return Outcome(1, says, None)


def refused(*says: str) -> Outcome:
    """The recipe, a flag or a setting is wrong: nothing has run."""
    return Outcome(2, says, None, refused=True)
