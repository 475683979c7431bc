"""`limits`: how much one sample may cost before it is refused. Defaults are beyond what real pools hold."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

MAX_PIXELS = 89_478_485  # Pillow's own bound against decompression bombs: 256 MiB of RGB
MOST_FOOTER = (1 << 31) - 1  # Arrow's bound is an int32
MOST_PIXELS = 2 * MAX_PIXELS  # Pillow opens no picture that has more


class Limits(BaseModel):
    """`limits`: bounds on a sample, which are checked before it is decoded or parsed. A sample beyond one has
    no result and a reason that names the bound; all others are as they would be without it.

        limits: {image_pixels: 178956970, image_memory: 1024, caption_bytes: 4194304}

    image_pixels  pixels of a picture, by its header, 1 to 178,956,970; default 89,478,485
    image_memory  MiB that decoding a picture may take, as estimated from its header; a file larger than 1 MiB
                  may take as many times its own size. Default 256, which is 29 million pixels of JPEG, 33 of
                  PNG, 16 of WebP, or 256 bytes of memory for each byte of a larger file
    image_scans   scans of a progressive JPEG; default 100. Encoders write about 10
    caption_bytes bytes of a caption; default 1 MiB. Other texts of tables may have as many, and 1 MiB
                  at the least
    json_bytes    bytes of a json member, or of a line of JSON; default 4 MiB. Parsed, it takes up to forty
                  times as many. A line of another table may have four times as many
    sample_files  files of a sample of a tar; default 4096
    join_bytes    bytes of a tar that are held to find all files of a sample, if the tar is not sorted by key
                  (all pictures first, all captions after); default 64 MiB
    table_columns columns of a parquet file; default 10,000
    table_depth   levels of nested columns; default 64
    table_rows    rows of a parquet file beyond which each must take a byte of it; default 100,000
    footer_bytes  bytes of one text in the footer of a parquet file; default 64 MiB
    unpacked_bytes  bytes to which a column of a parquet file, or an array of an npz, may unpack; default
                  64 MiB
    unpacked_ratio  beyond these, to how many times its packed bytes; default 50
    array_width   numbers in a row of an npz; default 8192
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    image_pixels: Annotated[int, Field(ge=1, le=MOST_PIXELS)] = MAX_PIXELS
    image_memory: Annotated[int, Field(ge=1)] = 256
    image_scans: Annotated[int, Field(ge=1)] = 100
    caption_bytes: Annotated[int, Field(ge=1)] = 1 << 20
    json_bytes: Annotated[int, Field(ge=1)] = 4 << 20
    sample_files: Annotated[int, Field(ge=1)] = 4096
    join_bytes: Annotated[int, Field(ge=1)] = 64 << 20
    table_columns: Annotated[int, Field(ge=1)] = 10_000
    table_depth: Annotated[int, Field(ge=1)] = 64
    table_rows: Annotated[int, Field(ge=1)] = 100_000
    footer_bytes: Annotated[int, Field(ge=64, le=MOST_FOOTER)] = 64 << 20
    unpacked_bytes: Annotated[int, Field(ge=1)] = 64 << 20
    unpacked_ratio: Annotated[int, Field(ge=1)] = 50
    array_width: Annotated[int, Field(ge=1)] = 8192

    def changed(self) -> dict[str, str]:
        """The limits of images that are not the default, by key: results of operators depend on them. The
        others are part of a shard's content (`pool.kinds.kind.PoolKind.read_as`)."""
        images = {name: value for name, value in self if name.startswith("image_")}
        return {f"limits.{n}": str(value) for n, value in images.items() if value != getattr(DEFAULTS, n)}


DEFAULTS = Limits()
