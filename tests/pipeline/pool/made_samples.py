"""Samples in tars, made on the spot, for the tests that read them."""

import io
import tarfile
from collections.abc import Iterable
from typing import Any

from PIL import Image

from pipeline.pool.tar_reader import Samples


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


def rows_of(batches: Iterable[Samples]) -> list[dict[str, Any]]:
    """Every row as a dict, with its image's bytes under `image`."""
    return [
        {**row, "image": None if image is None else bytes(image)}
        for frame, images in batches
        for row, image in zip(frame.to_dicts(), images, strict=True)
    ]


def one(read, *files, **options) -> dict:
    (row,) = read(*files, **options)
    return row
