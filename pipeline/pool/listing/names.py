"""The names of shards: their paths below the pool's root, as the files of a store can be called.

    shard_name("/data/pool/a/0.tar", "/data/pool")     # "a/0"

Two paths below one root never have one name, but for the suffix. Characters that would be read as a pattern,
control characters, and bytes that are not UTF-8 become %XX.
"""

import hashlib
import os
import re
from urllib.parse import unquote_to_bytes

from pipeline.pool.fields import percent
from pipeline.pool.listing.patterns import is_web

LONGEST = 150  # bytes of a part of a name: with what stores add, file systems take at most 255
_DIGEST = 32  # hex digits
_UNSAFE = re.compile(r"[%/*?\[\]{}\x00-\x1f\x7f-\x9f\ud800-\udfff]")
FILES = (".parquet", ".json")  # what a store's files end in: none of its folders may be called like one


def shard_name(path: str, root: str, suffixes: tuple[str, ...] = ()) -> str:
    """The name of the shard at a full path below `root` (see patterns.common_folder), without the first of
    these suffixes that it has. Raises ValueError if it is empty."""
    *folders, file = _parts(path, root)
    file = file.removesuffix(next((suffix for suffix in suffixes if file.endswith(suffix)), ""))
    return checked("/".join([*map(folder_name, folders), safe(file)]), path)


def folder_name(name: str) -> str:
    """One folder's name, as part of a shard's."""
    escaped = safe(name)
    return "%2E".join(escaped.rsplit(".", 1)) if escaped.endswith(FILES) else escaped


def safe(part: str) -> str:
    """A part of a path as part of a name. It can be told back from the result, unless it was cut."""
    escaped = _UNSAFE.sub(lambda match: percent(match.group()), part)
    if len(encoded := escaped.encode()) <= LONGEST:
        return escaped
    digest = hashlib.blake2b(encoded, digest_size=_DIGEST // 2).hexdigest()
    start = encoded[: LONGEST - _DIGEST - 2].decode(errors="ignore")
    return f"{start}%-{digest}"  # no other name has a % before a -


def unsafe(part: str) -> str:
    """The part of a path that `safe` made a part of a name of; of one that was cut, another text."""
    return os.fsdecode(unquote_to_bytes(part.encode("utf-8", "surrogatepass")))


def checked(name: str, path: str) -> str:
    """The name, if it can name output files. Raises ValueError."""
    if not {"", ".", ".."}.isdisjoint(name.split("/")):
        raise ValueError(f"pool.shards: {path!r} gives no safe name for output files")
    return name


def _parts(path: str, root: str) -> list[str]:
    """The parts of a path below the root; of all of it, with the protocol, if the root is ""."""
    path, mark, query = path.partition("?") if is_web(path) else (path, "", "")
    below = path.removeprefix(root).split("/")
    if not root and "://" in path:
        below[0] = below[0].removesuffix(":")
    parts = [part for part in below if part] or [""]
    parts[-1] += mark + query
    return parts
