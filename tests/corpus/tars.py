"""Tars: what is none, breaks, formats of headers, extensions."""

import io
import tarfile

from tests.corpus.kind import Build, Kind, Outcome, damaged, fails, reads
from tests.corpus.pool import OddPool, members, pack, sound
from tests.pipeline.pool.made_tars import block, header

ODD = members({"odd": sound(99)})
WHOLE = pack(ODD)
MANY = members({f"odd{n}": sound(50 + n) for n in range(8)})
JPEG = sound(99)["jpg"]
END = bytes(1024)


def file(data: bytes, name: str = "odd.tar") -> Build:
    """A shard of these bytes."""

    def build(pool: OddPool) -> None:
        pool.write(name, data)

    return build


def beside(data: bytes) -> Build:
    """A sound shard, and these statistics of a download beside it."""

    def build(pool: OddPool) -> None:
        pool.write("sound_stats.json", data)

    return build


def among(*odd: tuple[str, bytes], format: int = tarfile.USTAR_FORMAT) -> Build:
    """A shard with these files between sound samples."""

    def build(pool: OddPool) -> None:
        pool.among(odd, format)

    return build


def pax(records: bytes, kind: bytes = b"x") -> bytes:
    """A tar whose only member has a pax header with these records."""
    extension = header(kind, b"%011o\0" % len(records), kind) + block(records)
    return extension + header(b"odd.jpg") + block(b"abc") + END


def long_name(name: bytes, kind: bytes = b"L") -> bytes:
    """A GNU header with a long name."""
    return header(b"././@LongLink", b"%011o\0" % len(name), kind) + block(name)


def hole(pool: OddPool) -> None:
    """A tar with a hole in the middle, as a copy that was broken off and went on leaves it."""
    whole = bytearray(pack(MANY))
    with tarfile.open(fileobj=io.BytesIO(whole)) as tar:
        starts = [member.offset for member in tar]
    whole[starts[9] : starts[12]] = bytes(starts[12] - starts[9])
    pool.write("odd.tar", bytes(whole))


NOT_TARS = {
    "zip": (b"PK\x03\x04" + bytes(600), "it is a zip archive: unpack it, and pack its files as a tar"),
    "7z": (b"7z\xbc\xaf\x27\x1c" + bytes(600), "it is a 7z archive"),
    "rar": (b"Rar!\x1a\x07" + bytes(600), "it is a RAR archive"),
    "compress (.Z)": (b"\x1f\x9d\x90" + bytes(600), "packed with compress (.Z): unpack it, or pack it"),
    "a web page": (b"<!DOCTYPE html>" + b" " * 600, "it is a web page or XML, not a tar: download it again"),
    "an S3 error": (b"<?xml version='1.0'?><Error>" + b" " * 600, "look at what the server sent"),
    "JSON": (b'{"error": "not found"}' + b" " * 600, "it is JSON, not a tar"),
    "a pointer of Git LFS": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
        "run `git lfs pull`",
    ),
    "parquet": (b"PAR1" + bytes(600), "it is a parquet file: give it a name that ends in .parquet"),
    "a picture": (JPEG, "wrong checksum" if len(JPEG) >= 512 else "the file ends inside the header"),
}

UNPARSED = Outcome(0, ('"statistics of img2dataset that cannot be parsed', "the _stats.json beside"))
KINDS = [
    Kind("statistics of a download that are cut", beside(b'{"count": 5, "succ'), UNPARSED),
    Kind("statistics of a download that are a list", beside(b"[1, 2]"), UNPARSED),
    Kind("statistics of a download that are empty", beside(b""), UNPARSED),
    Kind("statistics of a download", beside(b'{"count": 5, "successes": 4}'), reads(0, '"other": 1')),
    Kind("empty", file(b""), damaged("the file is empty")),
    Kind("a single byte", file(b"x"), damaged("the file ends inside the header at byte 0")),
    Kind("5,000 random bytes", file(bytes(i * 7919 % 251 for i in range(5000))), damaged("wrong checksum")),
    Kind("zeros alone", file(bytes(10240)), reads(0)),
    Kind("1 MB of zeros", file(bytes(1 << 20)), reads(0)),
    *(Kind(f"{name} instead of a tar", file(data), damaged(says)) for name, (data, says) in NOT_TARS.items()),
    # breaks
    Kind("cut inside a member", file(WHOLE[:700]), damaged("the file ends inside member odd.jpg")),
    Kind("cut inside a header", file(WHOLE[:300]), damaged("the file ends inside the header at byte 0")),
    Kind("cut after a member", file(header(b"a.jpg") + block(b"abc")), damaged("without the end-of-archive")),
    Kind("joined by cat", file(pack(MANY) * 2), damaged("data after the end marker", samples=8)),
    Kind("a hole in the file", hole, damaged("joined tars, or a hole", samples=3)),
    Kind(
        "garbage after the end", file(WHOLE + b"garbage"), damaged("data after the end marker", samples=None)
    ),
    Kind(
        "a size that is not octal",
        file(header(b"odd.jpg", b"zzzzzzzzzzz\0") + END),
        damaged("a size that cannot"),
    ),
    Kind("a size of 8 GB", file(header(b"odd.jpg", b"77777777777\0")), damaged("ends inside member odd.jpg")),
    Kind(
        "a negative size", file(header(b"odd.jpg", b"\xff" * 12) + END), damaged("a size that cannot be read")
    ),
    Kind(
        "a size of 2**90",
        file(header(b"odd.jpg", b"\x80" + (1 << 85).to_bytes(11)) + END),
        damaged("a size that cannot be read"),
    ),
    Kind(
        "a size smaller than the file",
        file(header(b"odd.jpg") + block(JPEG) + END),
        damaged("wrong checksum", samples=None),
    ),
    # formats
    Kind("v7 headers", file(header(b"odd.jpg", magic=b"") + block(b"abc") + END), fails("no caption")),
    Kind("signed checksums", file(header("ö.jpg".encode(), signed=True) + block(b"abc") + END), fails()),
    Kind("pax names", among(*ODD, format=tarfile.PAX_FORMAT), reads()),
    Kind(
        "GNU names of 300 characters",
        among(*members({"odd" * 100: sound(99)}), format=tarfile.GNU_FORMAT),
        reads(),
    ),
    Kind(
        "pax names of 3,000 characters",
        among(*members({"odd" * 999: sound(99)}), format=tarfile.PAX_FORMAT),
        reads(),
    ),
    Kind("a long name of 1 MB", file(long_name(b"x" * (1 << 20)) + header() + block(b"abc") + END), reads(0)),
    Kind(
        "a long name that announces 8 GB",
        file(header(b"L", b"77777777777\0", b"L")),
        damaged("bytes of attributes, allowed are 1,048,576"),
    ),
    Kind("an empty long name", file(long_name(b"") + header(b"odd.jpg") + block(b"abc") + END), reads(0)),
    Kind(
        "100 long names in a row",
        file(b"".join(long_name(b"%d.jpg" % n) for n in range(100)) + WHOLE),
        damaged("more than 64 headers with attributes before one member"),
    ),
    Kind(
        "900 global headers in a row",
        file(b"".join(header(b"g", b"%011o\0" % 11, b"g") + block(b"11 aaa=bbb\n") for _ in range(900))),
        damaged("more than 64 headers with attributes"),
    ),
    Kind("a long name without a member", file(long_name(b"odd.jpg") + END), reads(0)),
    # pax records
    Kind("pax record of length 0", file(pax(b"0 path=a\n")), damaged("garbled pax records (at b'0 path")),
    Kind("pax record of length -1", file(pax(b"-1 path=a\n")), damaged("garbled pax records")),
    Kind("pax record of length 1", file(pax(b"1 path=a\n")), damaged("garbled pax records")),
    Kind("pax record of length 2**64", file(pax(b"18446744073709551616 path=a\n")), damaged("garbled pax")),
    Kind(
        "pax record with digits of another script", file(pax("٩ path=a\n".encode())), damaged("garbled pax")
    ),
    Kind("pax record without a length", file(pax(b"path=a\n")), damaged("garbled pax records")),
    Kind("pax record without =", file(pax(b"9 pathab\n")), damaged("garbled pax records")),
    Kind("pax record longer than its header", file(pax(b"99 path=a\n")), damaged("garbled pax records")),
    Kind("pax size that is negative", file(pax(b"11 size=-2\n")), damaged("garbled pax records")),
    Kind("pax size of 30 digits", file(pax(b"39 size=" + b"9" * 30 + b"\n")), damaged("garbled pax records")),
    Kind("100,000 pax records", file(pax(b"6 a=b\n" * 100_000)), damaged("more than 4,096 pax records")),
    Kind("a pax path of NULs", file(pax(b"12 path=\0\0\0\n")), reads(0)),
    Kind("a pax path that is empty", file(pax(b"8 path=\n")), fails("no caption")),
    Kind("a global pax comment", file(pax(b"14 comment=hi\n", b"g")), fails("no caption")),
    Kind(
        "a global pax path",
        file(pax(b"10 path=b\n", b"g")),
        damaged("sets the path of all members: not supported; pack the tar anew"),
    ),
]
