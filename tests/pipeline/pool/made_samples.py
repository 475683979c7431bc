"""Samples in tars, made on the spot, for the tests that read them."""

import io
import tarfile

from PIL import Image


def picture(width=3, height=2, format="JPEG") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, height)).save(out, format)
    return out.getvalue()


JPEG = picture()


def make(*files, format=tarfile.GNU_FORMAT) -> bytes:
    """A tar of names (contents follow from the suffix) or (name, contents)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as writer:
        for file in files:
            name, data = file if isinstance(file, tuple) else (file, default(file))
            info = tarfile.TarInfo(name)
            info.size = len(data)
            writer.addfile(info, io.BytesIO(data))
    return out.getvalue()


def default(name: str) -> bytes:
    suffix = name.rpartition(".")[2]
    return {"txt": b"text of " + name.encode("utf-8", "replace"), "json": b"{}"}.get(suffix, JPEG)


def one(read, *files, **options) -> dict:
    (row,) = read(*files, **options)
    return row
