"""Long runs of the same bytes, deflated in no time."""

import struct
import zlib


def deflated(size: int) -> bytes:
    """So many zeros, deflated a thousand to one."""
    return repeated(bytes(1 << 20), size >> 20, bytes(size % (1 << 20)))


def repeated(block: bytes, times: int, rest: bytes) -> bytes:
    """A block so many times and a rest, deflated. The block is packed once: after a full flush the packer
    would make the same bytes of it again."""
    packer = zlib.compressobj(9)
    head = packer.compress(b"") + packer.flush(zlib.Z_FULL_FLUSH)
    packed = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH) if times else b""
    tail = zlib.compressobj(9, wbits=-15)  # without header and checksum
    checksum = zlib.adler32(b"")
    for _ in range(times):
        checksum = zlib.adler32(block, checksum)
    checksum = zlib.adler32(rest, checksum)
    return b"".join([head, packed * times, tail.compress(rest), tail.flush(), struct.pack(">I", checksum)])
