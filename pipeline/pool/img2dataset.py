"""What a download lost: URLs that are in no tar, counted by reason from img2dataset's `_stats.json`.

    lost(shard)   {"HTTP 404": 812, "timed out": 240, ...}, for the tar beside which such a file lies

A URL that could not be fetched is no sample: it has no image to be judged by, and its caption must not
count in the pool's statistics. So it is in no column and under no rule; the books name it before them:
listed = read + lost, and read = kept + dropped + failed.
"""

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import orjson
from fsspec.core import url_to_fs

from pipeline.pool.shards import SUFFIX, Shard

STATS = "_stats.json"
MOST_BYTES = 64 << 20  # img2dataset remembers 100,000 messages
SUCCESS, OTHER = "success", "other"
REASONS = tuple(
    (name, re.compile(pattern))
    for name, pattern in (
        ("HTTP", r"HTTP Error (\d{3})"),
        ("address not public", r"is not public"),
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
        ("no URL", r"url type|no host given|onnumeric port|IPv6 URL|NoneType|control characters|codec can't"),
    )
)
OWN = ("image too small", "aspect ratio too large", "hash mismatch")  # img2dataset's, as they are


def reason(message: str) -> str:
    """The category of what img2dataset wrote as `error_message`: few, so that a funnel can list them."""
    if message in OWN:
        return message
    for name, pattern in REASONS:
        if found := pattern.search(message):
            return " ".join((name, *found.groups()))
    return OTHER


def reasons(stats: Mapping[str, Any]) -> dict[str, int]:
    """Reason -> URLs lost, of the content of one `_stats.json`. What its `status_dict` has forgotten is
    `other`, so that the sum is `count` less `successes`."""
    found: Counter[str] = Counter()
    statuses = stats.get("status_dict")
    for message, number in statuses.items() if isinstance(statuses, dict) else ():
        if message != SUCCESS:
            found[reason(message)] += _count(number)
    found[OTHER] += max(0, _count(stats.get("count")) - _count(stats.get("successes")) - found.total())
    return {name: number for name, number in sorted(found.items()) if number}


def lost(shard: Shard) -> dict[str, int]:
    """`reasons` of the file beside a tar; {} where there is none, or nothing in it that can be read. Raises
    OSError where storage does."""
    if shard.table or not shard.path.endswith(SUFFIX) or shard.path.startswith("http"):
        return {}  # beside a signed URL lies nothing that it may read
    return lost_of(shard.path.removesuffix(SUFFIX))


def lost_of(stem: str) -> dict[str, int]:
    """`reasons` of the file `<stem>_stats.json`; {} if it does not exist or cannot be parsed. Raises OSError if
    storage does."""
    fs, path = url_to_fs(stem + STATS)
    try:
        stats = orjson.loads(fs.cat_file(path, end=MOST_BYTES))
    except (
        FileNotFoundError,
        PermissionError,
        orjson.JSONDecodeError,
    ):  # S3 says 403 for what may not be listed
        return {}
    return reasons(stats) if isinstance(stats, dict) else {}


def _count(value: object) -> int:
    return value if type(value) is int and value > 0 else 0
