"""Tars: members, links, packing, order, and what is called like a tar."""

import bz2
import gzip
import io
import lzma
import os
import socket
import tarfile
from collections.abc import Callable, Sequence

import pyarrow as pa

from tests.corpus.kind import Build, Kind, damaged, fails, reads, refused, unread
from tests.corpus.pool import OddPool, pack, sound
from tests.corpus.tars import JPEG, MANY, ODD, WHOLE, among, file, pax
from tests.pipeline.pool.made_tars import header


def entries(*members: tuple[str, bytes] | tuple[str, bytes, str]) -> bytes:
    """A tar of (name, contents), or (name, type, target of the link)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, data, *link in members:
            info = tarfile.TarInfo(name)
            if link:
                info.type, info.linkname = data, link[0]
                tar.addfile(info)
            else:
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def zstd(data: bytes) -> bytes:
    return pa.compress(data, codec="zstd", asbytes=True)


def special(make: Callable[[str], None], name: str = "odd.tar", named: bool = False) -> Build:
    """Something called like a shard that is no file; `named`: the recipe names it as it is."""

    def build(pool: OddPool) -> None:
        path = pool.pool / name
        make(str(path))
        if named:
            pool.pool_keys["shards"] = str(path)

    return build


def bound_socket(path: str) -> None:
    """A socket."""
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path)


def in_turn(files: Sequence[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    """The same files, all of one suffix before those of the next."""
    return sorted(files, key=lambda file: file[0].rpartition(".")[2])


def unsorted(limit: int | None = None) -> Build:
    """A shard with all pictures first and all captions after."""

    def build(pool: OddPool) -> None:
        pool.write("odd.tar", pack(in_turn(MANY)))
        if limit:
            pool.limits = {"join_bytes": limit}

    return build


def bomb(pack_it: Callable[[bytes], bytes], megabytes: int, name: str, start: bytes = b"") -> Build:
    """A packed file of zeros after `start`. It is packed when it is needed, which takes a second."""

    def build(pool: OddPool) -> None:
        pool.write(name, pack_it(start + bytes(megabytes << 20)))

    return build


def clash(pool: OddPool) -> None:
    """A tar, and a packed one of the same name."""
    pool.write("odd.tar", WHOLE)
    pool.write("odd.tar.gz", gzip.compress(WHOLE))


HARD, SYMBOLIC = tarfile.LNKTYPE, tarfile.SYMTYPE
TXT = ("odd.txt", sound(99)["txt"])
JSON = ("odd.json", sound(99)["json"])
PACKINGS = {
    ".tar.gz": gzip.compress,
    ".tgz": gzip.compress,
    ".tar.bz2": bz2.compress,
    ".tar.xz": lzma.compress,
    ".tar.zst": zstd,
    ".tar.lz4": lambda data: pa.compress(data, codec="lz4", asbytes=True),
}

KINDS = [
    # members
    Kind("a picture without a caption", among(("odd.jpg", JPEG)), fails("no caption")),
    Kind("a caption without a picture", among(TXT, JSON), fails("no image member")),
    Kind(
        "2,000 empty members",
        among(*((f"{n}.npy", b"") for n in range(2000))),
        fails(samples=2000, failed=2000),
    ),
    Kind(
        "1,900 files of one sample",
        among(*ODD, *((f"odd.{n}.npy", b"") for n in range(1900))),
        reads(),
    ),
    Kind("names without a dot", among(("README", b"x"), *ODD, ("LICENSE", b"y")), reads()),
    Kind("folders and hidden files", among(("d/", b""), ("d/.DS_Store", b"x"), *ODD), reads()),
    Kind("macOS's ._ files", among(("._odd.jpg", b"x"), *ODD), reads()),
    Kind("a device", file(entries(("odd.jpg", tarfile.CHRTYPE, ""), TXT)), fails("no image member")),
    Kind(
        "a FIFO in the tar", file(entries(("odd.jpg", tarfile.FIFOTYPE, ""), TXT)), fails("no image member")
    ),
    Kind(
        "a sparse member",
        file(pax(b"22 GNU.sparse.major=1\n")[:-1024] + entries(TXT)),
        fails("odd.jpg is a sparse file: pack it as a whole"),
    ),
    Kind("paths that lead out", among(*((f"../../odd/{name}", data) for name, data in ODD)), reads()),
    Kind("absolute paths", among(*((f"/tmp/{name}", data) for name, data in ODD)), reads()),
    # links
    Kind(
        "a hard link to a file before",
        file(entries(("x.jpg", JPEG), ("odd.jpg", HARD, "x.jpg"), TXT, JSON)),
        fails("no caption", samples=2),
    ),
    Kind(
        "a symbolic link to a file before",
        file(entries(("a/x.jpg", JPEG), ("b/odd.jpg", SYMBOLIC, "../a/x.jpg"), ("b/odd.txt", b"a caption"))),
        fails("no caption", samples=2),
    ),
    Kind(
        "a link out of the tar",
        file(entries(("odd.jpg", SYMBOLIC, "/tmp/odd.jpg"), TXT)),
        fails("odd.jpg is a link to /tmp/odd.jpg, which is none of"),
    ),
    Kind(
        "a link to itself",
        file(entries(("odd.jpg", SYMBOLIC, "odd.jpg"), TXT)),
        fails("odd.jpg is a link to"),
    ),
    Kind(
        "a link to a file after it",
        file(entries(("odd.jpg", HARD, "x.jpg"), TXT, ("x.jpg", JPEG))),
        fails("odd.jpg is a link to x.jpg, which is none of the 65,536 files before it", samples=2, failed=2),
    ),
    Kind(
        "two links to each other",
        file(entries(("odd.jpg", SYMBOLIC, "odd.txt"), ("odd.txt", SYMBOLIC, "odd.jpg"))),
        fails("odd.jpg is a link to odd.txt"),
    ),
    Kind(
        "1,000 links to one file",
        file(entries(("x.jpg", JPEG), *((f"odd{n}.jpg", HARD, "x.jpg") for n in range(1000)))),
        fails("no caption", samples=1001, failed=1001),
    ),
    # packing
    *(Kind(f"packed: {name}", file(how(WHOLE), f"odd{name}"), reads()) for name, how in PACKINGS.items()),
    *(
        Kind(f"packed as {name}, called .tar", file(how(pack(MANY))), reads(8))
        for name, how in PACKINGS.items()
        if name != ".tgz"
    ),
    *(
        Kind(
            f"packed and cut: {name}",
            file(how(pack(MANY))[:-900], f"odd{name}"),
            damaged("data cannot be unpacked further", samples=None),
        )
        for name, how in PACKINGS.items()
    ),
    Kind("packed twice", file(gzip.compress(gzip.compress(WHOLE)), "odd.tar.gz"), damaged("wrong checksum")),
    Kind("a plain tar called .tar.gz", file(WHOLE, "odd.tar.gz"), reads()),
    Kind("gzip of nothing", file(gzip.compress(b""), "odd.tar.gz"), damaged("the file is empty")),
    Kind(
        "gzip in two pieces",
        file(gzip.compress(WHOLE[:800]) + gzip.compress(WHOLE[800:]), "odd.tgz"),
        reads(),
    ),
    Kind(
        "gzip with a wrong checksum",
        file(gzip.compress(WHOLE)[:-8] + bytes(8), "odd.tgz"),
        damaged("the gzip data cannot be unpacked further", samples=None),
    ),
    Kind(
        "gzip with garbage behind",
        file(gzip.compress(WHOLE) + b"garbage", "odd.tgz"),
        damaged("the gzip data cannot be unpacked further", samples=None),
    ),
    *(
        Kind(
            f"a bomb of zeros: {name}",
            bomb(how, size, f"odd{name}"),
            damaged("unpacks to over 100 times its size: unpack it first"),
        )
        for name, how, size in (
            (".tar.gz", gzip.compress, 200),
            (".tar.bz2", bz2.compress, 200),
            (".tar.xz", lzma.compress, 200),
            (".tar.zst", zstd, 400),
        )
    ),
    Kind(
        "a bomb in a member",
        bomb(gzip.compress, 200, "odd.tgz", header(b"odd.jpg", b"%011o\0" % (200 << 20))),
        damaged("unpacks to over 100 times its size"),
    ),
    Kind("unsorted and packed", file(gzip.compress(pack(in_turn(MANY))), "odd.tar.gz"), reads(8)),
    Kind(
        "a tar and a packed tar of one name", clash, refused("two shards would be named 'odd'", "odd.tar.gz")
    ),
    Kind(
        "packed with compress, by its name",
        file(b"\x1f\x9d\x90", "odd.tar.Z"),
        unread("a tar in a packing that is not read; unpack it, or pack it with gzip"),
    ),
    # order
    Kind("all pictures first", unsorted(), reads(8)),
    Kind(
        "all pictures first, beyond the window",
        unsorted(2048),
        damaged(
            "the tar is not sorted by key",
            "sort its members by name, or raise limits.join_bytes",
            samples=None,
        ),
    ),
    Kind(
        "samples in turn",
        among(*(f for pair in zip(MANY[:3], MANY[3:6], strict=True) for f in pair)),
        reads(2),
    ),
    Kind("a sample twice", among(*ODD, *ODD), reads(2)),
    Kind("a picture twice", among(ODD[0], *ODD), fails("no caption", samples=2)),
    # things called like shards
    Kind("a FIFO", special(os.mkfifo), unread("a FIFO")),
    Kind("a socket", special(bound_socket), unread("a socket")),
    Kind(
        "a link that leads nowhere", special(lambda path: os.symlink("gone", path)), unread("leads nowhere")
    ),
    Kind(
        "a link to itself on disk", special(lambda path: os.symlink("odd.tar", path)), unread("leads nowhere")
    ),
    Kind("a FIFO that is named", special(os.mkfifo, named=True), refused("odd.tar is a FIFO, not a file")),
    Kind(
        "a device that is named",
        special(lambda path: os.symlink("/dev/zero", path), named=True),
        refused("is a device, not a file with samples"),
    ),
    Kind("a folder called .tar", special(os.mkdir), reads(0)),
]
