"""What identifies a file: its state, which a listing tells, and its content, which reading tells.

    local_state(os.stat("pool/00000.tar"))     # "10240 1700000000000000000 1700000000000000000"
    digest = Digest()
    digest.update(data)
    digest.hexdigest()                         # 32 hex digits

The state changes when a file is rewritten, and may change when it is not (a touch, a copy). So a changed
state is a reason to read the file again, and its content says whether anything is new.
"""

import hashlib
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from blake3 import blake3

MISSING = "missing"  # the state of a file that does not exist

# Listing fields of object storage that change with the content, the most telling first.
_MARKS = (
    *("ETag", "etag", "md5Hash", "generation", "version_id", "VersionId", "Content-MD5", "Digest"),
    *("blob_id", "xet_hash"),  # of the Hugging Face hub, which lists no times
)
# Listing fields of file systems that have no such mark: times of change.
_TIMES = ("LastModified", "last_modified", "Last-Modified", "updated", "mtime", "modified", "created")


class Seen(NamedTuple):
    """A file as it was read: its state when it was opened, and the digest of its content."""

    state: str
    content: str


def noted(seen: Seen | None) -> dict[str, str]:
    """What was read, as notes in the footer of a shard's samples."""
    return seen._asdict() if seen else {}


def local_state(stat: os.stat_result) -> str:
    """Size, time of change of the content, and time of change of the inode, both in ns. The last one changes
    even if a program sets the time of the content back."""
    return f"{stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns}"


def remote_state(info: Mapping[str, Any]) -> str:
    """The state of a file on other storage, of what fsspec's `info` or `ls` says of it: size and its first
    mark, else size and time of change. Empty if the storage tells neither."""
    for key in (*_MARKS, *_TIMES):
        if info.get(key):
            return f"{info.get('size')} {info[key]}"
    return ""


def listed_state(info: Mapping[str, Any]) -> str:
    """As `remote_state` for a file of a pool; if the storage tells neither a mark nor a time, its size."""
    return remote_state(info) or str(info.get("size") or "")


def state_difference(before: str, now: str) -> str:
    """How a file's state differs from an earlier one, in words; empty if it does not."""
    if before == now:
        return ""
    old, new = (state.partition(" ")[0] for state in (before, now))
    return "written since, of equal size" if old == new else f"size {old or 'unknown'} -> {new} bytes"


def state_digest(state: str) -> str:
    """A content that stands for a file which is not read as a whole: it is as new as the state."""
    return hashlib.blake2b(f"state {state}".encode(), digest_size=16).hexdigest()


class Digest:
    """BLAKE3, 128 bits of it: at several GB/s per core faster than storage, and nobody can make two files
    with equal digests."""

    def __init__(self) -> None:
        self._hash = blake3()

    def update(self, data: bytes | memoryview) -> None:
        """Take in the next bytes."""
        self._hash.update(data)

    def hexdigest(self) -> str:
        """32 hex digits over all bytes so far."""
        return self._hash.hexdigest(length=16)
