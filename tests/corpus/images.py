"""Pictures: cut, garbled, of formats that are not read, made to cost as much as they can, and called in odd
ways."""

import io
import struct
from collections.abc import Callable

import pillow_heif
from PIL import Image

from tests.corpus.kind import Build, Kind, Outcome, fails, reads
from tests.corpus.pool import OddPool
from tests.support.bad_images import BAD, png, png_chunk
from tests.support.samples import picture

PIXELS = "at most 89478485"
BROKEN = "image cannot be decoded: "
WORDS = {  # kind of BAD -> why it fails; what is not here is read, or follows from its name
    "jpeg scans": "image has too many scans: over 100 (limits.image_scans)",
    "jpeg scans of a small picture": "image has too many scans: over 100 (limits.image_scans)",
    "jpeg scans behind a whole one": "image has too many scans: over 100 (limits.image_scans)",
    "jpeg claims, largest": f"image too large: 60000 x 60000, {PIXELS} pixels (limits.image_pixels)",
    "png claims, largest": f"image too large: 3600000000 pixels, {PIXELS} (limits.image_pixels)",
    "gif claims, largest": f"image too large: 3600000000 pixels, {PIXELS} (limits.image_pixels)",
    "webp claims, largest": f"image too large: 268435456 pixels, {PIXELS} (limits.image_pixels)",
    "tiff tile, large": "image too large for its file: 16 x 16 in 759681 bytes would take 733 MiB, at most 256",
    "png claims": f"{BROKEN}image file is truncated",
    "png text": f"{BROKEN}Decompressed data too large",
    "png texts": f"{BROKEN}Too much memory used in text chunks",
    "png profile": f"{BROKEN}Decompressed data too large",
    "webp claims": f"{BROKEN}failed to read next frame",
    "ico": "no image",
    "avif truncated": f"{BROKEN}unknown format",
}


def image(data: bytes | Callable[[], bytes], suffix: str = "jpg") -> Build:
    """A sample with this picture."""

    def build(pool: OddPool) -> None:
        content = data if isinstance(data, bytes) else data()
        pool.sample({suffix: content}, without=() if suffix == "jpg" else ("jpg",))

    return build


def of(name: str) -> Outcome:
    """What comes of a kind of BAD."""
    if name in WORDS:
        return fails(WORDS[name])
    if "large" in name:
        return fails("image too large for its file: ", "MiB, at most 256 (limits.image_memory)")
    return fails(BROKEN) if "truncated" in name else reads()


def saved(format: str, mode: str = "RGB", **options: object) -> bytes:
    """A picture of 16 x 16 pixels as Pillow writes it."""
    out = io.BytesIO()
    Image.new(mode, (16, 16)).save(out, format, **options)
    return out.getvalue()


def with_text(keyword: bytes, text: bytes = b"x") -> bytes:
    """A PNG with a text chunk, and one with a profile of that name."""
    return png(16, 16, png_chunk(b"tEXt", keyword + b"\0" + text), png_chunk(b"iCCP", keyword + b"\0\0bad"))


def claiming(side: int, claimed: int) -> bytes:
    """A HEIC of side x side pixels of one colour whose header claims others."""
    out = io.BytesIO()
    Image.new("RGB", (side, side)).save(out, "HEIF", enc_params={"preset": "ultrafast"})
    return out.getvalue().replace(struct.pack(">II", side, side), struct.pack(">II", claimed, claimed))


def lying_heic() -> bytes:
    """15 kB whose pixels take 400 MB, were they decoded."""
    return claiming(8000, 16)


def boasting_heic() -> bytes:
    """A few hundred bytes that claim to be 9,000 x 9,000 pixels."""
    return claiming(64, 9000)


pillow_heif.register_heif_opener()
JPEG, PNG = picture(9, 64, 64, "JPEG"), picture(9, 64, 64, "PNG")
HEIC = picture(9, 64, 64, "HEIF")
ESCAPE = b"\x1b[31mred\x1b]0;title\x07"
KINDS = [
    *(
        Kind(name, image(make, name.split()[0].replace("jpeg", "jpg")), of(name))
        for name, make in BAD.items()
    ),
    Kind("empty", image(b""), fails("unknown format")),
    Kind("one byte", image(b"\xff"), fails("unknown format")),
    Kind("a JPEG's first bytes alone", image(b"\xff\xd8\xff"), fails(BROKEN)),
    Kind("a JPEG cut in its tables", image(JPEG[:300]), fails(BROKEN)),
    Kind("bytes after the end of a JPEG", image(JPEG + bytes(5000)), reads()),
    Kind("a page of HTML", image(b"<!doctype html><title>Not found</title>"), fails("unknown format")),
    Kind("SVG", image(b"<svg xmlns='http://www.w3.org/2000/svg'/>"), fails("unknown format")),
    Kind("PDF", image(b"%PDF-1.4\n"), fails("unknown format")),
    Kind("EPS, which Pillow gives to Ghostscript", image(b"%!PS-Adobe-3.0 EPSF-3.0\n"), fails("unknown")),
    Kind("a HEIC's first bytes alone", image(bytes(4) + b"ftypheic" + bytes(100), "heic"), fails(BROKEN)),
    Kind("a HEIC cut in its pixels", image(HEIC[:-100], "heic"), fails(BROKEN)),
    Kind("a HEIC whose header claims fewer pixels", image(lying_heic, "heic"), fails(BROKEN)),
    Kind("a HEIC whose header claims more pixels", image(boasting_heic, "heic"), fails("image too large")),
    Kind("suffix HEIC", image(HEIC, "HEIC"), reads()),
    Kind("suffix heif", image(HEIC, "heif"), reads()),
    Kind("a PNG called jpg", image(PNG), reads()),
    Kind("a JPEG called png", image(JPEG, "png"), reads()),
    Kind("suffix JPG", image(JPEG, "JPG"), reads()),
    Kind("suffix JpEg", image(JPEG, "JpEg"), reads()),
    Kind("suffix jfif", image(JPEG, "jfif"), reads()),
    Kind("suffix PNG", image(PNG, "PNG"), reads()),
    Kind("suffix TIF", image(saved("TIFF"), "TIF"), reads()),
    Kind("suffix Gif", image(saved("GIF"), "Gif"), reads()),
    Kind("suffix BMP", image(saved("BMP"), "BMP"), reads()),
    Kind("suffix AVIF", image(saved("AVIF"), "AVIF"), reads()),
    Kind("suffix WebP", image(saved("WEBP"), "WebP"), reads()),
    Kind("a PNG of one bit", image(saved("PNG", "1"), "png"), reads()),
    Kind("a PNG of a palette", image(saved("PNG", "P"), "png"), reads()),
    Kind("a TIFF of floats", image(saved("TIFF", "F"), "tiff"), reads()),
    Kind("a TIFF of CMYK", image(saved("TIFF", "CMYK"), "tiff"), reads()),
    Kind("a PNG without pixels", image(png(0, 0), "png"), fails(BROKEN)),
    Kind("a PNG of 1 x 200,000", image(png(1, 200_000), "png"), reads()),
    Kind("a PNG with a wrong checksum", image(PNG[:40] + b"\0" + PNG[41:], "png"), fails(BROKEN)),
    Kind("escape sequences in a PNG's keyword", image(with_text(ESCAPE), "png"), reads()),
    Kind("escape sequences in a PNG's text", image(with_text(b"note", ESCAPE), "png"), reads()),
    Kind("escape sequences in a JPEG's comment", image(saved("JPEG", comment=ESCAPE)), reads()),
    Kind(
        "escape sequences in a TIFF's description",
        image(saved("TIFF", description=ESCAPE.decode()), "tiff"),
        reads(),
    ),
]
