"""Tars made block by block, and how the tests read them."""

import io
import struct
import tarfile

from pipeline.pool.tar import Damage, walk

LONG = "folder/" * 30 + "000000000.jpg"  # 223 characters: over ustar's 100, and no 155 + 100 either


def make(*files, format=tarfile.USTAR_FORMAT, end=True, **fields) -> bytes:
    """A tar of (name, contents); `fields` are set on every TarInfo."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as writer:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            for field, value in fields.items():
                setattr(info, field, value)
            writer.addfile(info, io.BytesIO(data))
    data = out.getvalue()
    return data if end else data.rstrip(b"\0").ljust(-(-len(data.rstrip(b"\0")) // 512) * 512, b"\0")


def header(name=b"a.jpg", size=b"00000000003\0", kind=b"0", magic=b"ustar\00000", signed=False) -> bytes:
    """One header block, by hand."""
    block = bytearray(512)
    block[: len(name)] = name
    block[124:136], block[148:156], block[156:157] = size, b" " * 8, kind
    block[257 : 257 + len(magic)] = magic
    total = sum(struct.unpack("512b", block)) if signed else sum(block)
    block[148:156] = b"%06o\0 " % total
    return bytes(block)


def block(data: bytes) -> bytes:
    return data.ljust(-(-len(data) // 512) * 512, b"\0")


def read(data) -> tuple[list[tuple[str, bytes]], Damage | None]:
    """The members with contents, and the damage."""
    members = walk(data)
    found = [(m.name, bytes(m.data)) for m in members if m.data is not None]
    return found, members.damage


END = bytes(1024)


FILES = [(f"{i:03}.{suffix}", bytes([i]) * (i * 37 % 1500)) for i in range(30) for suffix in ("jpg", "txt")]
