"""What strangers say of a sample: JSON objects, strings, sizes, uids. Nothing in them raises.

The uid is the sample's own where it has one of 32 hex digits, else md5 of text + url, as cc2dataset and
so DataComp make it, else a hash of where the sample is.
"""

import json
from typing import Any

import orjson

BAD_JSON, NO_CAPTION = "json cannot be parsed", "no caption"
MOST_PIXELS = (1 << 31) - 1  # of a side: an int32


def parse(data: bytes | memoryview) -> tuple[dict[str, Any], str | None]:
    """(the object that JSON holds, why there is none)."""
    try:
        record = orjson.loads(data)
    except orjson.JSONDecodeError:
        try:  # Python's own json writes NaN and lone surrogates, and pools are full of its work
            record = json.loads(str(data, "utf-8-sig", "replace"))
        except ValueError as error:
            return {}, f"{BAD_JSON}: {str(error)[:100]}"
        except RecursionError:
            return {}, f"{BAD_JSON}: nested too deeply"
    return (record, None) if isinstance(record, dict) else ({}, f"{BAD_JSON}: not an object")


def string(value: object) -> str | None:
    """A string that UTF-8 can hold: lone surrogates become U+FFFD. None for what is no string."""
    if not isinstance(value, str):
        return None
    return (
        value
        if value.isascii()
        else value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    )


def pixels(value: object) -> int | None:
    """A side in pixels, or None for what can be none."""
    return value if type(value) is int and 0 < value <= MOST_PIXELS else None
