"""`pool.limits` of a recipe."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class PoolLimits(BaseModel):
    """`pool.limits`: what a sample may have. One that has more fails, and its error names the limit.

        pool: {shards: pool/*.tar, store: store, limits: {caption_bytes: 4194304}}

    caption_bytes  bytes of a caption. Default: 1 MiB
    json_bytes     bytes of a json member, or of a line of JSON: parsed, it takes up to forty times as many.
                   Default: 4 MiB
    sample_files   files of a sample of a tar. Default: 4096
    join_bytes     bytes of a tar that are held to find all files of a sample, if the tar is not sorted by
                   key (all pictures first, all captions after). Default: 64 MiB
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    caption_bytes: Annotated[int, Field(ge=1)] | None = None
    json_bytes: Annotated[int, Field(ge=1)] | None = None
    sample_files: Annotated[int, Field(ge=1)] | None = None
    join_bytes: Annotated[int, Field(ge=1)] | None = None

    @property
    def given(self) -> dict[str, int]:
        """The limits that the recipe sets."""
        return self.model_dump(exclude_none=True)
