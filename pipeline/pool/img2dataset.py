"""URLs that a download did not fetch, counted by reason from img2dataset's `_stats.json`.

    lost_beside("pool/00000")   {"HTTP 404": 812, "timed out": 240, ...}, from pool/00000_stats.json

A URL that could not be fetched is not a sample: it has no image to be judged by, and its caption must not
count in the pool's statistics. So it has no row and no verdict. The books count it apart: listed = read +
lost, and read = kept + dropped + failed.

Such a file may come, change or go without its shard. Nothing but the books depends on it, so the samples do
not note what it says: the books compare its state, which the listing of the pool tells.
"""

import errno
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orjson
from fsspec.core import url_to_fs

from pipeline.pool.shards import STATS, Shard
from pipeline.progress import watched
from pipeline.storage import layout
from pipeline.storage.faults import note_json
from pipeline.storage.identity import UNTOLD
from pipeline.storage.retry import persist
from pipeline.storage.store import Store

READS = 32  # of such files, at the same time
MOST_BYTES = 64 << 20  # read of such a file: img2dataset writes at most 100,000 messages
VERSION = 2  # of the notes of what such files say; those of the first do not tell garbled from empty
SUCCESS = "success"
OTHER = "other"
GARBLED = "unreadable"  # of a file that cannot be parsed: nobody knows how many URLs were lost
NOT_PUBLIC = "address not public"
REASONS = (
    ("HTTP", r"HTTP Error (\d{3})"),
    (NOT_PUBLIC, r"is not public"),
    ("timed out", r"timed out"),
    ("host not found", r"Errno -[2-5]\b|ame or service|name resolution|nodename|o address "),
    ("TLS", r"SSL|CERTIFICATE"),
    ("no connection", r"Connection refused|No route|unreachable|Can't assign"),
    (
        "connection broken",
        r"reset by peer|Remote end closed|IncompleteRead|Broken pipe|Connection aborted",
    ),
    ("file too large", r"response is larger"),
    ("image too large", r"CV_IO_MAX_IMAGE|image area too large"),
    ("no image", r"Image decoding error|OpenCV"),
    ("disallowed by X-Robots-Tag", r"X-Robots-Tag"),
    ("no URL", r"url type|no host given|onnumeric port|IPv6 URL|NoneType|control characters|codec"),
)
# img2dataset's own messages, kept as they are
OWN = ("image too small", "aspect ratio too large", "hash mismatch")


def reason(message: str) -> str:
    """The category of an `error_message` of img2dataset. There are few, so that a funnel can list them."""
    if message in OWN:
        return message
    for name, pattern in REASONS:
        if match := re.search(pattern, message):  # `re` remembers what it compiled
            return " ".join((name, *match.groups()))
    return OTHER


def reasons(stats: Mapping[str, Any]) -> dict[str, int]:
    """Reason -> lost URLs, from the content of one `_stats.json`. URLs that its `status_dict` does not list
    count as `other`, so that the sum is `count` less `successes`."""
    counts: Counter[str] = Counter()
    statuses = stats.get("status_dict")
    for message, number in statuses.items() if isinstance(statuses, dict) else ():
        if message != SUCCESS:
            counts[reason(message)] += _count(number)
    counts[OTHER] += max(0, _count(stats.get("count")) - _count(stats.get("successes")) - counts.total())
    return {name: number for name, number in sorted(counts.items()) if number}


def losses_of(
    store: Store, shards: Sequence[Shard], read: Callable[[Shard], Mapping[str, int]]
) -> dict[str, Mapping[str, int]]:
    """Shard -> its lost URLs by reason, of those with a file beside them that `read` reads. It is read once
    for each of its states; the store notes what it said. If the listing did not show whether there is one, it
    is looked for each time. Raises ShardError."""
    shards = [shard for shard in shards if shard.beside]
    if not shards:
        return {}
    noted = (store.root.read_json(layout.DOWNLOADS) or {}) if any(s.beside != UNTOLD for s in shards) else {}
    new = [s for s in shards if s.beside == UNTOLD or not _is_noted(noted.get(s.name), s.beside)]
    if new:
        with ThreadPoolExecutor(READS) as pool:
            found = pool.map(lambda shard: persist(lambda: read(shard)), new)
            told = watched("counting lost URLs", found, len(new))
            noted |= {
                shard.name: [shard.beside, lost, VERSION] for shard, lost in zip(new, told, strict=True)
            }
        if any(shard.beside != UNTOLD for shard in new):
            note_json(store.root, layout.DOWNLOADS, noted)
    return {shard.name: noted[shard.name][1] for shard in shards}


def _is_noted(note: Any, state: str) -> bool:
    """Whether a note is of the file in this state."""
    return isinstance(note, list) and len(note) == 3 and [note[0], note[2]] == [state, VERSION]


def lost_beside(stem: str) -> dict[str, int]:
    """`reasons` of the file `<stem>_stats.json`; {} if it does not exist, and {GARBLED: 0} if it cannot be
    parsed. Raises OSError if storage does."""
    fs, path = url_to_fs(stem + STATS)
    try:
        stats = orjson.loads(fs.cat_file(path, end=MOST_BYTES))
    except orjson.JSONDecodeError:
        return {GARBLED: 0}
    except (FileNotFoundError, PermissionError):
        return {}  # if listing is not allowed, S3 answers 403 for a file that does not exist
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:  # then there cannot be such a file
            raise
        return {}
    return reasons(stats) if isinstance(stats, dict) else {GARBLED: 0}


def _count(value: object) -> int:
    """A positive whole number; 0 for anything else."""
    return value if type(value) is int and value > 0 else 0
