"""A picture of every kind that pools hold: formats, colour modes, depths, layouts. All are the same scene.

for name, data in PICTURES.items(): ...
"""

import io

import numpy as np
import pillow_heif
from PIL import Image

from tests.support.samples import picture

pillow_heif.register_heif_opener()
WIDTH, HEIGHT = 61, 47  # odd sides: decoders differ at the edge of subsampled chroma


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def scene(mode: str = "RGB", size: tuple[int, int] = (WIDTH, HEIGHT)) -> Image.Image:
    return Image.open(io.BytesIO(picture(3, *size))).convert("RGB").convert(mode)


def rotated(format: str) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: the camera was held upright
    return encoded(scene(), format, exif=exif)


def deep() -> Image.Image:
    steps = np.linspace(0, 65535, WIDTH * HEIGHT).reshape(HEIGHT, WIDTH)
    return Image.fromarray(steps.astype(np.uint16))


def transparent() -> Image.Image:
    """RGBA whose alpha runs from 0 to 255."""
    image = scene("RGBA")
    image.putalpha(Image.fromarray(np.tile(np.linspace(0, 255, WIDTH).astype(np.uint8), (HEIGHT, 1))))
    return image


def transparent_palette() -> bytes:
    return encoded(scene().quantize(16), "PNG", transparency=bytes(range(16)))


def animated(format: str) -> bytes:
    frames = [scene().point(lambda value, step=step: value // step) for step in (2, 3)]
    return encoded(scene(), format, save_all=True, append_images=frames, duration=40)


PICTURES = {
    "jpeg 4:2:0": encoded(scene(), "JPEG", quality=90, subsampling="4:2:0"),
    "jpeg 4:2:2": encoded(scene(), "JPEG", quality=75, subsampling="4:2:2"),
    "jpeg 4:4:4": encoded(scene(), "JPEG", quality=30, subsampling="4:4:4"),
    "jpeg progressive": encoded(scene(), "JPEG", progressive=True),
    "jpeg gray": encoded(scene("L"), "JPEG"),
    "jpeg CMYK": encoded(scene("CMYK"), "JPEG"),
    "jpeg EXIF": rotated("JPEG"),
    "jpeg RGB": encoded(scene(), "JPEG", keep_rgb=True),
    "jpeg of two pictures": encoded(scene(), "MPO", save_all=True, append_images=[scene().transpose(0)]),
    "png": encoded(scene(), "PNG"),
    "png palette": encoded(scene().quantize(16), "PNG"),
    "png palette with transparency": transparent_palette(),
    "png RGBA": encoded(transparent(), "PNG"),
    "png gray": encoded(scene("L"), "PNG"),
    "png gray with alpha": encoded(scene("LA"), "PNG"),
    "png 1 bit": encoded(scene("1"), "PNG"),
    "png 16 bit": encoded(deep(), "PNG"),
    "png EXIF": rotated("PNG"),
    "png animated": animated("PNG"),
    "webp": encoded(scene(), "WEBP", quality=80),
    "webp lossless RGBA": encoded(transparent(), "WEBP", lossless=True),
    "webp lossy RGBA": encoded(transparent(), "WEBP", quality=70),
    "webp animated": animated("WEBP"),
    "gif": encoded(scene(), "GIF"),
    "gif gray": encoded(scene("L"), "GIF"),
    "gif with transparency": encoded(transparent(), "GIF"),
    "gif animated": animated("GIF"),
    "bmp": encoded(scene(), "BMP"),
    "bmp palette": encoded(scene().quantize(16), "BMP"),
    "bmp 1 bit": encoded(scene("1"), "BMP"),
    "tiff": encoded(scene(), "TIFF"),
    "tiff LZW": encoded(scene(), "TIFF", compression="tiff_lzw"),
    "tiff JPEG": encoded(scene(), "TIFF", compression="jpeg"),
    "tiff G4": encoded(scene("1"), "TIFF", compression="group4"),
    "tiff CMYK": encoded(scene("CMYK"), "TIFF"),
    "tiff RGBA": encoded(transparent(), "TIFF", compression="tiff_adobe_deflate"),
    "tiff 16 bit": encoded(deep(), "TIFF"),
    "tiff EXIF": rotated("TIFF"),
    "tiff of three pages": animated("TIFF"),
    "avif": encoded(scene(), "AVIF"),
    "avif RGBA": encoded(transparent(), "AVIF"),
    "avif EXIF": rotated("AVIF"),
    "heic": encoded(scene(), "HEIF"),
    "heic RGBA": encoded(transparent(), "HEIF"),
    "heic EXIF": rotated("HEIF"),
    "heic of tiles": encoded(scene(), "HEIF", tile_size=32),
    "heic of two pictures": encoded(scene(), "HEIF", save_all=True, append_images=[scene().transpose(0)]),
    "heif": encoded(scene(), "HEIF").replace(b"ftypheic", b"ftypmif1"),
}
