"""Why a path that a listing came across is not a shard, and which of these reasons are losses.

A loss may have been meant as a shard: the exit status of a run over such a pool is 1. Other files that lie
beside the shards are not losses.
"""

import stat
from collections.abc import Mapping
from dataclasses import dataclass

NO_SHARD = "not a shard"
BESIDE = "a table beside tars: taken for a description of them"
WRITTEN = "written by Winnow; name it itself to read it"
LOOP = "a link back to a folder above it"
NOWHERE = "a link that leads nowhere"
NOTE = "a note of macOS beside a file"
NO_STATS = "statistics of img2dataset that cannot be parsed: the URLs they count as lost are in no books"
COMPRESSED = "a tar in a packing that is not read; unpack it, or pack it with gzip"
UNREADABLE = "cannot be read"
HARMLESS = (NO_SHARD, BESIDE, WRITTEN, LOOP, NOTE, NO_STATS)
NO_LISTING = (
    "does not exist, and a web server does not list its files; name them, as in "
    "https://example.org/{00000..00099}.tar"
)
EXAMPLES = 10  # paths of each reason that the books name

# What the names of tars end in whose packing is not read
COMPRESSED_TARS = (".tar.Z", ".taz", ".tar.lzma", ".tar.br")

_SPECIAL = (
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


@dataclass(frozen=True)
class PassedOver:
    """How many paths were passed over for one reason, and the first few of them."""

    count: int
    examples: tuple[str, ...]


def is_note(path: str) -> bool:
    """Whether a path is a file in which macOS keeps attributes of another: AppleDouble's `._0.tar`, or
    `.DS_Store`."""
    name = path.rpartition("/")[2]
    return name.startswith("._") or name == ".DS_Store"


def special(mode: int) -> str:
    """What a file of this mode is that is neither an ordinary file nor a folder."""
    return next((noun for test, noun in _SPECIAL if test(mode)), "not an ordinary file")


def unreadable(error: OSError) -> str:
    """The reason of a folder or link that storage does not show."""
    return f"{UNREADABLE}: {error.strerror or type(error).__name__}"


def is_loss(reason: str) -> bool:
    """Whether a path with this reason may have been meant as a shard."""
    return reason not in HARMLESS


def skipped(passed_over: Mapping[str, PassedOver]) -> int:
    """How many paths may have been meant as shards, by what `summary` returned."""
    return sum(paths.count for reason, paths in passed_over.items() if is_loss(reason))


def summary(passed_over: Mapping[str, str]) -> dict[str, PassedOver]:
    """Reason -> the paths that were passed over for it, losses first, then the most frequent reason."""
    paths: dict[str, list[str]] = {}
    for path in sorted(passed_over):
        paths.setdefault(passed_over[path], []).append(path)
    ordered = sorted(paths.items(), key=lambda item: (not is_loss(item[0]), -len(item[1]), item[0]))
    return {reason: PassedOver(len(p), tuple(p[:EXAMPLES])) for reason, p in ordered}
