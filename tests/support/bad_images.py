"""Pictures that are broken, or made to cost as much as they can. Each maker always returns the same bytes.

    BAD["jpeg scans"]()      a progressive JPEG of 20,000 scans

Sizes are those of the attacks; most files have less than 1 MB. `BAD` has every kind by name.
"""

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image

from tests.support.deflate import deflated, repeated

SIDE = 9_400  # pixels: just below Pillow's bound on pixels


def jpeg_segment(marker: int, content: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(content) + 2) + content


def jpeg_scans(width: int, height: int, scans: int) -> bytes:
    """A gray progressive JPEG whose scans change nothing: each is a few runs of empty blocks."""
    blocks = -(-width // 8) * -(-height // 8)
    parts = [
        b"\xff\xd8",
        jpeg_segment(0xDB, b"\0" + bytes([16]) * 64),
        jpeg_segment(0xC2, struct.pack(">BHHB", 8, height, width, 1) + b"\x01\x11\0"),
        jpeg_segment(0xC4, b"\0" + bytes([1] + [0] * 15) + b"\0"),  # DC: the code 0 is "no difference"
        jpeg_segment(0xC4, b"\x10" + bytes([1] + [0] * 15) + b"\xe0"),  # AC: the code 0 is a run of blocks
        jpeg_segment(0xDA, b"\x01\x01\0\0\0\0"),
        bytes(-(-blocks // 8)),
    ]
    bits = ("0" + "1" * 14) * -(-blocks // 32_767)
    run = int(bits.ljust(-(-len(bits) // 8) * 8, "1"), 2).to_bytes(-(-len(bits) // 8), "big")
    scan = jpeg_segment(0xDA, b"\x01\x01\0\x01\x3f\0") + run.replace(b"\xff", b"\xff\0")
    return b"".join([*parts, scan * (scans - 1), b"\xff\xd9"])


def jpeg_more_scans(scans: int) -> bytes:
    """A baseline JPEG that is whole, and behind its only scan so many copies of it, which libjpeg refuses."""
    data = _saved(_noise(64, 64), "JPEG")
    scan = data[data.index(b"\xff\xda") : -2]
    return data[:-2] + scan * scans + data[-2:]


def jpeg_claims(width: int, height: int, progressive: bool = True) -> bytes:
    """A small JPEG whose header claims another size."""
    data = bytearray(_saved(_noise(64, 64), "JPEG", progressive=progressive))
    frame = data.index(b"\xff\xc2" if progressive else b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def jpeg_flat(width: int, height: int, progressive: bool = True) -> bytes:
    """A JPEG of one colour, whole and valid: a few bits per block."""
    return _saved(
        Image.new("RGB", (width, height), (90, 120, 30)), "JPEG", progressive=progressive, quality=90
    )


def jpeg_cmyk_flat(width: int, height: int) -> bytes:
    return _saved(Image.new("CMYK", (width, height), (90, 120, 30, 5)), "JPEG", progressive=True)


def jpeg_segments(count: int) -> bytes:
    """A JPEG with that many empty application segments before the picture."""
    data = _saved(_noise(64, 64), "JPEG")
    return data[:2] + jpeg_segment(0xE5, b"") * count + data[2:]


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, *chunks: bytes, mode: int = 2, depth: int = 8, interlaced: int = 0) -> bytes:
    """A PNG of one colour (`mode` as in its header: 2 RGB, 6 RGBA, 0 gray), with chunks before the pixels."""
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[mode]
    line = bytes(1 + -(-width * samples * depth // 8))
    rows = max(1, (1 << 22) // len(line))
    header = struct.pack(">IIBBBBB", width, height, depth, mode, 0, 0, interlaced)
    pixels = png_chunk(b"IDAT", repeated(line * rows, height // rows, line * (height % rows)))
    ends = (pixels, png_chunk(b"IEND", b""))
    return b"".join([b"\x89PNG\r\n\x1a\n", png_chunk(b"IHDR", header), *chunks, *ends])


def png_claims(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header claims a size."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = (
        png_chunk(b"IHDR", header),
        png_chunk(b"IDAT", zlib.compress(bytes(64))),
        png_chunk(b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def png_text(size: int, count: int = 1) -> bytes:
    """A PNG with compressed texts of that size each."""
    return png(64, 64, png_chunk(b"zTXt", b"note\0\0" + deflated(size)) * count)


def png_profile(size: int) -> bytes:
    """A PNG with a colour profile that deflates to that size."""
    return png(64, 64, png_chunk(b"iCCP", b"icc\0\0" + deflated(size)))


def tiff(entries: dict[int, tuple[int, list[int]]], data: bytes) -> bytes:
    """A TIFF of one directory: tag -> (type: 3 short, 4 long; values). The data begins at byte 8."""
    tail = 8 + len(data)
    table, extra = [], b""
    after = tail + 2 + 12 * len(entries) + 4
    for tag, (kind, values) in sorted(entries.items()):
        packed = struct.pack(f"<{len(values)}{'H' if kind == 3 else 'I'}", *values)
        if len(packed) > 4:
            place = struct.pack("<I", after + len(extra))
            extra += packed
        else:
            place = packed.ljust(4, b"\0")
        table.append(struct.pack("<HHI", tag, kind, len(values)) + place)
    head = b"II*\0" + struct.pack("<I", tail)
    return head + data + struct.pack("<H", len(entries)) + b"".join(table) + bytes(4) + extra


def tiff_strip(width: int, height: int, samples: int = 3, depth: int = 8) -> bytes:
    """A TIFF of one deflated strip."""
    data = deflated(width * height * samples * depth // 8)
    extra = {338: (3, [2])} if samples == 4 else {}
    return tiff(
        {
            256: (4, [width]), 257: (4, [height]), 258: (3, [depth] * samples), 259: (3, [8]),
            262: (3, [2 if samples > 1 else 1]), 273: (4, [8]), 277: (3, [samples]), 278: (4, [height]),
            279: (4, [len(data)]), **extra,
        },
        data,
    )  # fmt: skip


def tiff_tile(side: int) -> bytes:
    """A TIFF of 16 x 16 pixels that lie in one deflated tile of `side` x `side`."""
    data = deflated(side * side * 3)
    return tiff(
        {
            256: (4, [16]), 257: (4, [16]), 258: (3, [8, 8, 8]), 259: (3, [8]), 262: (3, [2]),
            277: (3, [3]), 322: (4, [side]), 323: (4, [side]), 324: (4, [8]), 325: (4, [len(data)]),
        },
        data,
    )  # fmt: skip


def tiff_pages(count: int) -> bytes:
    """A TIFF whose directories follow each other in a ring of that many."""
    data = bytearray(tiff_strip(16, 16))
    (place,) = struct.unpack_from("<I", data, 4)
    (entries,) = struct.unpack_from("<H", data, place)
    directory = bytes(data[place : place + 2 + 12 * entries])
    for number in range(count):
        here = len(data)
        data += directory + struct.pack("<I", here + len(directory) + 4 if number < count - 1 else place)
    return bytes(data)


def webp_flat(width: int, height: int, lossless: bool = True, frames: int = 1) -> bytes:
    image = Image.new("RGBA", (width, height), (90, 120, 30, 200))
    rest = [Image.new("RGBA", (width, height), (n, 0, 0, 255)) for n in range(frames - 1)]
    options = {"save_all": True, "append_images": rest, "duration": 40} if rest else {}
    return _saved(image, "WEBP", lossless=lossless, method=0, quality=10, **options)


def webp_claims(width: int, height: int) -> bytes:
    """A lossless WebP of a few bytes whose header claims a size."""
    bits = (width - 1) | (height - 1) << 14 | 1 << 28
    chunk = b"\x2f" + struct.pack("<I", bits) + bytes(64)
    body = b"WEBPVP8L" + struct.pack("<I", len(chunk)) + chunk + b"\0" * (len(chunk) % 2)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def gif_flat(width: int, height: int, frames: int = 1) -> bytes:
    rest = [Image.new("P", (width, height), n % 2) for n in range(1, frames)]
    image = Image.new("P", (width, height), 0)
    return _saved(image, "GIF", save_all=bool(rest), append_images=rest, optimize=False)


def gif_screen(width: int, height: int) -> bytes:
    """A GIF of 16 x 16 pixels on a screen of another size."""
    data = bytearray(gif_flat(16, 16))
    data[6:10] = struct.pack("<HH", width, height)
    return bytes(data)


def bmp_claims(width: int, height: int) -> bytes:
    data = bytearray(_saved(_noise(16, 16), "BMP"))
    data[18:26] = struct.pack("<ii", width, height)
    return bytes(data)


def bmp_runs(width: int, height: int) -> bytes:
    """A BMP of runs of one colour: 255 pixels in two bytes."""
    line = b"\xff\0" * (width // 255) + bytes([width % 255, 0]) * (width % 255 > 0) + b"\0\0"
    data = line * height + b"\0\1"
    palette = bytes(4) * 256
    size = 54 + len(palette) + len(data)
    head = b"BM" + struct.pack("<IHHI", size, 0, 0, 54 + len(palette))
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(data), 0, 0, 256, 0)
    return head + info + palette + data


def avif_flat(width: int, height: int) -> bytes:
    return _saved(Image.new("RGB", (width, height), (90, 120, 30)), "AVIF", speed=10, quality=30)


def avif_claims(width: int, height: int) -> bytes:
    """A small AVIF whose property `ispe` claims another size."""
    data = bytearray(avif_flat(64, 64))
    place = data.index(b"ispe") + 8
    data[place : place + 8] = struct.pack(">II", width, height)
    return bytes(data)


def ico() -> bytes:
    """A picture of a kind that no pool has."""
    return _saved(_noise(16, 16), "ICO")


def _noise(width: int, height: int) -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(noise)


def _saved(image: Image.Image, format: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def truncated(format: str, share: float = 0.6) -> bytes:
    """A picture whose end is missing."""
    data = _saved(_noise(64, 64), format)
    return data[: int(len(data) * share)]


# name -> maker; the file has the suffix that its name begins with. Those called `large` ask for more than the
# default limits allow, those called `flat` for nearly as much as they allow
BAD: dict[str, Callable[[], bytes]] = {
    "jpeg scans": lambda: jpeg_scans(SIDE, SIDE, 20_000),
    "jpeg scans of a small picture": lambda: jpeg_scans(64, 64, 40_000),
    "jpeg scans behind a whole one": lambda: jpeg_more_scans(100),
    "jpeg scans, as many as may be": lambda: jpeg_scans(5_400, 5_400, 100),
    "jpeg claims, large": lambda: jpeg_claims(SIDE, SIDE),
    "jpeg claims, baseline, large": lambda: jpeg_claims(SIDE, SIDE, progressive=False),
    "jpeg claims, largest": lambda: jpeg_claims(60_000, 60_000),
    "jpeg claims": lambda: jpeg_claims(5_400, 5_400),
    "jpeg flat": lambda: jpeg_flat(5_400, 5_400),
    "jpeg flat, baseline": lambda: jpeg_flat(5_400, 5_400, progressive=False),
    "jpeg large": lambda: jpeg_flat(SIDE, SIDE),
    "jpeg CMYK flat": lambda: jpeg_cmyk_flat(4_700, 4_700),
    "jpeg CMYK large": lambda: jpeg_cmyk_flat(5_700, 5_700),
    "jpeg segments": lambda: jpeg_segments(200_000),
    "png claims, large": lambda: png_claims(SIDE, SIDE),
    "png claims, largest": lambda: png_claims(60_000, 60_000),
    "png claims": lambda: png_claims(5_700, 5_700),
    "png flat": lambda: png(5_700, 5_700),
    "png large": lambda: png(SIDE, SIDE),
    "png flat, RGBA, 16 bit": lambda: png(5_700, 5_700, mode=6, depth=16),
    "png flat, gray, 16 bit": lambda: png(5_700, 5_700, mode=0, depth=16),
    "png text": lambda: png_text(256 << 20),
    "png texts": lambda: png_text(1 << 20, 600),
    "png profile": lambda: png_profile(256 << 20),
    "tiff flat": lambda: tiff_strip(4_900, 4_900),
    "tiff flat, 16 bit": lambda: tiff_strip(5_100, 5_100, 1, 16),
    "tiff large": lambda: tiff_strip(SIDE, SIDE, 4),
    "tiff tile, large": lambda: tiff_tile(16_000),
    "tiff tile": lambda: tiff_tile(9_000),
    "tiff pages": lambda: tiff_pages(5_000),
    "webp flat": lambda: webp_flat(4_050, 4_050),
    "webp flat, lossy": lambda: webp_flat(4_050, 4_050, lossless=False),
    "webp large": lambda: webp_flat(5_700, 5_700),
    "webp frames": lambda: webp_flat(1_000, 1_000, frames=20),
    "webp claims": lambda: webp_claims(4_050, 4_050),
    "webp claims, largest": lambda: webp_claims(16_384, 16_384),
    "gif flat": lambda: gif_flat(5_700, 5_700),
    "gif frames": lambda: gif_flat(1_000, 1_000, 40),
    "gif claims, largest": lambda: gif_screen(60_000, 60_000),
    "bmp claims, large": lambda: bmp_claims(SIDE, SIDE),
    "bmp flat": lambda: bmp_runs(5_700, 5_700),
    "avif flat": lambda: avif_flat(5_100, 5_100),
    "avif claims, large": lambda: avif_claims(SIDE, SIDE),
    "avif claims": lambda: avif_claims(5_100, 5_100),
    "ico": ico,
    "jpeg truncated": lambda: truncated("JPEG"),
    "png truncated": lambda: truncated("PNG"),
    "webp truncated": lambda: truncated("WEBP"),
    "gif truncated": lambda: truncated("GIF"),
    "bmp truncated": lambda: truncated("BMP"),
    "tiff truncated": lambda: truncated("TIFF"),
    "avif truncated": lambda: truncated("AVIF"),
}
