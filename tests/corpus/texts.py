"""Captions and keys."""

from tests.corpus.kind import Build, Kind, fails, reads, refused
from tests.corpus.pool import OddPool, members, sound

PICTURE = sound(99)["jpg"]


def caption(data: bytes) -> Build:
    """A sample with this txt member."""

    def build(pool: OddPool) -> None:
        pool.sample({"txt": data})

    return build


def key(name: str) -> Build:
    """A sample with this key; bytes that are not UTF-8 are surrogates in it."""

    def build(pool: OddPool) -> None:
        pool.among(members({name: sound(99)}))

    return build


def raw(name: bytes) -> Build:
    """A sample with these bytes as its key."""
    return key(name.decode("utf-8", "surrogateescape"))


def files(*names: str) -> Build:
    """Files of these names, with pictures, captions and empty objects by their suffixes."""

    def build(pool: OddPool) -> None:
        contents = {"txt": b"an odd caption", "json": b"{}"}
        pool.among([(name, contents.get(name.rpartition(".")[2], PICTURE)) for name in names])

    return build


def limited(limits: object, data: bytes = b"o" * 46) -> Build:
    """A sample with this caption, and `limits`."""

    def build(pool: OddPool) -> None:
        pool.sample({"txt": data})
        pool.limits = limits

    return build


GBK = "".join(map(chr, (0xDCB9, 0xDCB7)))  # a name in GBK, as a tar that is read as UTF-8 gives it
REPLACED = "the caption has U+FFFD, where bytes are not UTF-8"
BIG5 = "".join(map(chr, (0xDCC4, 0xDCF1)))

KINDS = [
    # captions
    Kind("escape sequences", caption(b"\x1b[31mred \x1b]52;c;aGk=\x07 bell"), reads()),
    Kind("markup of a terminal library", caption(b"[red] a [/b] b [link=http://x]"), reads()),
    Kind("bidirectional overrides", caption("a \u202e b".encode()), reads()),
    Kind("NUL", caption(b"a\0b"), reads()),
    Kind("NULs alone", caption(bytes(100)), reads()),
    Kind("empty", caption(b""), fails(samples=1, failed=0)),
    Kind("blanks and line breaks alone", caption(b" \t\r\n\x0b\x0c "), reads()),
    Kind("CRLF at the end", caption(b"an odd caption\r\n"), reads()),
    Kind("a byte order mark", caption(b"\xef\xbb\xbfan odd caption"), reads()),
    Kind(
        "UTF-16 with a mark",
        caption("an odd caption".encode("utf-16")),
        fails("it is UTF-16, and captions are UTF-8"),
    ),
    Kind("UTF-16, big end first", caption(b"\xfe\xff\0a\0b"), fails("it is UTF-16, and captions are UTF-8")),
    Kind("UTF-16 without a mark", caption("an odd caption".encode("utf-16-le")), reads()),
    Kind("Latin-1", caption("ein schöner Käfer".encode("latin-1")), reads(1, REPLACED)),
    Kind("GBK", caption("狗和猫".encode("gbk")), reads(1, REPLACED)),
    Kind("a surrogate in UTF-8", caption(b"a \xed\xa0\x80 b"), reads()),
    Kind("UTF-8 that is cut", caption("café".encode()[:-1]), reads()),
    Kind("overlong UTF-8", caption(b"a \xc0\xaf b"), reads()),
    Kind("characters beyond Unicode", caption(b"a \xf7\xbf\xbf\xbf b"), reads()),
    Kind("noncharacters", caption("a \ufffe\uffff\U0010ffff b".encode()), reads()),
    Kind("1,000 combining accents", caption(("a" + "\u0301" * 1000).encode()), reads()),
    Kind("20,000 zero-width joiners", caption(("a\u200d" * 20_000).encode()), reads()),
    Kind("a word of 900,000 letters", caption(b"a" * 900_000), reads()),
    Kind("200,000 words", caption(b"odd " * 200_000), reads()),
    Kind("JPEG as a caption", caption(PICTURE), reads()),
    Kind(
        "a caption over the limit",
        limited({"caption_bytes": 45}),
        fails("it has 46 bytes, allowed are 45 (limits.caption_bytes)"),
    ),
    Kind("a caption at the limit", limited({"caption_bytes": 100}, b"a" * 100), fails(samples=1, failed=0)),
    Kind(
        "a caption of 1 MiB and a byte",
        caption(b"a" * ((1 << 20) + 1)),
        fails("1,048,577 bytes, allowed are 1,048,576"),
    ),
    Kind("a limit of 0", limited({"caption_bytes": 0}), refused("caption_bytes", "1")),
    Kind("a limit that is a text", limited({"caption_bytes": "a lot"}), refused("caption_bytes")),
    Kind("a limit of another name", limited({"captions": 5}), refused("captions")),
    Kind("limits that are a list", limited([1]), refused("limits")),
    # keys
    Kind("a key with escape sequences", key("odd\x1b[31m"), reads()),
    Kind("a key with markup", key("odd [/b][red]"), reads()),
    Kind("a key with a line break", key("odd\nkey"), reads()),
    Kind("a key with bidirectional overrides", key("odd\u202egpj"), reads()),
    Kind("a key that is a formula", key("odd=cmd|' /C calc'!A0"), reads()),
    Kind("a key with quotes", key("odd'\"`$(ls)"), reads()),
    Kind("a key with backslashes", key("odd\\key"), reads()),
    Kind("a key of 95 characters", key("o" * 95), reads()),
    Kind("a key in another script", key("odd 狗"), reads()),
    Kind("a key in GBK", raw("odd狗".encode("gbk")), reads()),
    Kind("a key in Latin-1", raw("oddé".encode("latin-1")), reads()),
    Kind(
        "two keys in GBK",
        files(f"odd{GBK}.jpg", f"odd{GBK}.txt", f"odd{BIG5}.jpg", f"odd{BIG5}.txt"),
        reads(2),
    ),
    Kind(
        "keys in GBK, one without its picture",
        files(f"odd{GBK}.txt", f"odd{BIG5}.jpg", f"odd{BIG5}.txt"),
        fails("no image member", samples=2),
    ),
    Kind("suffixes in GBK", files("odd.jpg", "odd.txt", f"odd.{GBK}", f"odd.{BIG5}"), reads()),
    Kind("suffixes in capitals", files("odd.JPG", "odd.TXT", "odd.Json"), reads()),
    Kind(
        "a version in the key",
        files("odd v1.5.jpg", "odd v1.5.txt", "odd v1.6.jpg", "odd v1.6.txt"),
        reads(2),
    ),
    Kind(
        "a thumbnail beside a key with a dot",
        files("odd.1.jpg", "odd.1.json", "odd.1.thumb.jpg", "odd.1.txt"),
        reads(),
    ),
    Kind("masks beside a picture", files("odd.jpg", "odd.seg.png", "odd.txt"), reads()),
    Kind("two dots before the suffix", files("odd..jpg", "odd..txt"), reads()),
    Kind("a name that ends in a dot", files("odd.", "odd.jpg", "odd.txt"), reads()),
    Kind("a suffix of 90 characters", files("odd.jpg", "odd.txt", "odd." + "x" * 90), reads()),
    Kind("suffixes that paths are made of", files("odd.jpg", "odd.txt", "odd...", "odd. "), reads()),
    Kind("keys that differ in capitals alone", files("odd.jpg", "odd.txt", "ODD.jpg", "ODD.txt"), reads(2)),
    Kind(
        "keys that differ in their Unicode form alone",
        files("odd\u00e9.jpg", "odd\u00e9.txt", "odde\u0301.jpg", "odde\u0301.txt"),
        reads(2),
    ),
    Kind(
        "names by which webdataset describes a tar",
        files("__meta__", "__odd__/x.jpg", "odd.jpg", "odd.txt"),
        reads(),
    ),
]
