"""Tars: headers, extensions, members, packing, order."""

import tarfile

from tests.corpus.kind import Build, Kind, damaged, fails, reads
from tests.corpus.pool import OddPool, members, pack, sound
from tests.pipeline.pool.made_tars import block, header

WHOLE = pack(members({"odd": sound(99)}))


def file(data: bytes, name: str = "odd.tar") -> Build:
    """A shard of these bytes."""

    def build(pool: OddPool) -> None:
        pool.write(name, data)

    return build


def among(*odd: tuple[str, bytes], format: int = tarfile.USTAR_FORMAT) -> Build:
    """A shard with these files between sound samples."""

    def build(pool: OddPool) -> None:
        pool.among(odd, format)

    return build


def pax(records: bytes) -> bytes:
    """A tar whose only member has a pax header with these records."""
    extension = header(b"x", b"%011o\0" % len(records), b"x") + block(records)
    return extension + header(b"odd.jpg") + block(b"abc") + bytes(1024)


KINDS = [
    Kind("empty", file(b""), damaged("the file is empty")),
    Kind("5,000 random bytes", file(bytes(i * 7919 % 251 for i in range(5000))), damaged("wrong checksum")),
    Kind("cut inside a member", file(WHOLE[:700]), damaged("the file ends inside member odd.jpg")),
    Kind("pax names", among(*members({"odd": sound(99)}), format=tarfile.PAX_FORMAT), reads()),
    Kind("a picture without a caption", among(("odd.jpg", sound(99)["jpg"])), fails("no caption")),
]
