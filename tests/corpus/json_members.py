"""The json members of samples."""

import json
from typing import Any

from tests.corpus.kind import Build, Kind, fails, reads
from tests.corpus.pool import OddPool


def raw(data: bytes) -> Build:
    """A sample with this json member, and no txt: the caption comes from it."""

    def build(pool: OddPool) -> None:
        pool.sample({"json": data}, without=("txt",))

    return build


def record(**fields: Any) -> Build:
    """A sample with these fields in its json, and no txt."""
    return raw(json.dumps(fields).encode())


def beside(**fields: Any) -> Build:
    """A sample with a txt member, and these fields in its json."""

    def build(pool: OddPool) -> None:
        pool.sample({"json": json.dumps(fields).encode()})

    return build


def limited(data: bytes, most: int) -> Build:
    """A sample with this json member, and a limit on its bytes."""

    def build(pool: OddPool) -> None:
        pool.sample({"json": data}, without=("txt",))
        pool.limits = {"json_bytes": most}

    return build


GOOD = json.dumps({"caption": "an odd caption"}).encode()
MB = 1 << 20

KINDS = [
    # what cannot be parsed
    Kind("empty", raw(b""), fails("json cannot be parsed")),
    Kind("blanks alone", raw(b" \n"), fails("json cannot be parsed")),
    Kind("cut", raw(GOOD[:-3]), fails("json cannot be parsed")),
    Kind("two objects", raw(GOOD + GOOD), fails("json cannot be parsed")),
    Kind("a list", raw(b"[]"), fails("json cannot be parsed: not an object")),
    Kind("a number", raw(b"5"), fails("not an object")),
    Kind("null", raw(b"null"), fails("not an object")),
    Kind("single quotes", raw(b"{'caption': 'x'}"), fails("json cannot be parsed")),
    Kind("a comment", raw(b'{"caption": "x"} // odd'), fails("json cannot be parsed")),
    Kind("a comma at the end", raw(b'{"caption": "x",}'), fails("json cannot be parsed")),
    Kind("NULs", raw(bytes(100)), fails("json cannot be parsed")),
    Kind("a JPEG", raw(b"\xff\xd8\xff\xe0" + bytes(100)), fails("json cannot be parsed")),
    Kind("UTF-16", raw(GOOD.decode().encode("utf-16")), fails("json cannot be parsed")),
    Kind(
        "an integer of 100,000 digits",
        raw(b'{"caption": "x", "n": ' + b"9" * 100_000 + b"}"),
        fails("json cannot be"),
    ),
    Kind("1,000 nested lists", raw(b"[" * 1000 + b"]" * 1000), fails("json cannot be parsed")),
    Kind("500,000 nested lists", raw(b"[" * 500_000 + b"]" * 500_000), fails("json cannot be parsed")),
    Kind(
        "100,000 nested objects",
        raw(b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
        fails("json cannot be parsed"),
    ),
    Kind(
        "100,000 lists that are never closed", raw(b'{"a":' + b"[" * 100_000), fails("json cannot be parsed")
    ),
    # what is parsed
    Kind("a byte order mark", raw(b"\xef\xbb\xbf" + GOOD), reads()),
    Kind("NaN and infinity", raw(b'{"caption": "an odd caption", "a": NaN, "b": -Infinity}'), reads()),
    Kind("a caption that is NaN", raw(b'{"caption": NaN}'), fails("no caption")),
    Kind("a float of 1e999", raw(b'{"caption": "an odd caption", "a": 1e999}'), reads()),
    Kind(
        "an integer of 80 bits",
        raw(b'{"caption": "an odd caption", "a": 1208925819614629174706176}'),
        reads(),
    ),
    Kind("keys twice", raw(b'{"caption": "first", "caption": "an odd caption"}'), reads()),
    Kind("a lone surrogate", raw(b'{"caption": "an odd \\ud800 caption"}'), reads()),
    Kind("a surrogate as a key", raw(b'{"\\ud800": 1, "caption": "an odd caption"}'), reads()),
    Kind("an escaped NUL", raw(b'{"caption": "an odd \\u0000 caption"}'), reads()),
    Kind("Latin-1 in a string", raw('{"caption": "ein Käfer, schön"}'.encode("latin-1")), reads()),
    Kind(
        "300,000 empty lists",
        raw(b'{"caption": "an odd caption", "a": [' + b"[]," * 300_000 + b"[]]}"),
        reads(),
    ),
    Kind(
        "50,000 keys",
        record(caption="an odd caption", **{f"k{n}": n for n in range(50_000)}),
        reads(),
    ),
    Kind("a string of 900,000 letters", record(caption="an odd caption", a="x" * 900_000), reads()),
    # captions
    Kind("a caption that is a number", record(caption=5), fails("no caption")),
    Kind("a caption that is true", record(caption=True), fails("no caption")),
    Kind("a caption that is an object", record(caption={"en": "x"}), fails("no caption")),
    Kind("a caption that is null, and a text", record(caption=None, text="an odd caption"), reads()),
    Kind("a caption that is a list", record(caption=["an odd caption", "another"]), reads()),
    Kind("a caption that is an empty list", record(caption=[]), fails("no caption")),
    Kind("a caption that is a list of numbers", record(caption=[1, 2]), fails("no caption")),
    Kind("a caption that is a list of lists", record(caption=[["x"]]), fails("no caption")),
    Kind("a text that is a list", record(text=["an odd caption"]), reads()),
    Kind(
        "a caption over the limit of captions", record(caption="x" * (MB + 1)), fails("allowed are 1,048,576")
    ),
    # other fields
    Kind("a url that is a list", beside(url=["http://example.org"]), reads()),
    Kind("a url of 500 KB", beside(url="http://example.org/" + "x" * 500_000), reads()),
    Kind("a url with escape sequences", beside(url="http://example.org/\x1b[31m"), reads()),
    Kind("a uid that is a number", beside(uid=5), reads()),
    Kind("a uid that is no hex", beside(uid="z" * 32), reads()),
    Kind("a uid in capitals", beside(uid="ABCDEF0123456789" * 2), reads()),
    Kind("widths that are no numbers", beside(original_width="24", original_height=None), reads()),
    Kind("widths that are negative or huge", beside(original_width=-5, original_height=1 << 62), reads()),
    Kind("widths that are Booleans or floats", beside(original_width=True, original_height=16.0), reads()),
    Kind("fields called like columns", beside(shard="x", row=-1, key="../x", error="x", offset=-1), reads()),
    Kind("an exif that is a list", beside(exif=[1], sha256={"a": 1}, status=None), reads()),
    # limits
    Kind(
        "one byte over the limit",
        limited(GOOD, len(GOOD) - 1),
        fails(f"it has {len(GOOD)} bytes, allowed are {len(GOOD) - 1} (limits.json_bytes)"),
    ),
    Kind("at the limit", limited(GOOD, len(GOOD)), reads()),
    Kind(
        "900,000 empty lists and a low limit",
        limited(b"[" + b"[]," * 300_000 + b"[]]", MB // 2),
        fails("(limits.json_bytes)"),
    ),
]
