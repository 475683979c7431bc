"""What an index's folder says of itself: its `image.json` (or `text.json`), checked field by field.

about, states = read_about("out/index")
about.dimension, about.parts[0].index

An index may come from anywhere, so nothing in the file is believed that the files beside it could disprove.
"""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pipeline.errors import RecipeError, shortened
from pipeline.export.places.contents import STATES_FILE, read_noted
from pipeline.storage.folder import Folder

NAMES = ("image.json", "text.json")
SUFFIX = ".index"
METADATA = "metadata/metadata_0.parquet"
INNER_PRODUCT = "inner_product"
AGAIN = "run `winnow export` again"

Count = Annotated[int, Field(ge=0, lt=2**40)]
Inside = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][\w.\-]*(/[A-Za-z0-9_][\w.\-]*)*$", max_length=200)]


class MissingIndexError(RecipeError):
    """There is no index in a folder."""


class Part(BaseModel):
    """One FAISS file, and the table of its rows: row i of the table is id i of the file."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    index: Inside
    metadata: Inside
    rows: Count


class About(BaseModel):
    """What a manifest says.

    embedding  the column whose vectors these are
    columns    the folder of the store that held them, which names the key of the operator
    decision   the folder of the store with the decision whose kept samples these are
    inputs     folder of the store -> digest of what was read from it
    key        FAISS's factory string
    contents   file -> its size and digest
    parts      the files, in the order of their ids; the file that an index of one part has by default
    operator   the operator that made the column: `use`, `model` ...; None of an earlier version
    pool       where the samples are: `shards`, `store` ...; None of an earlier version
    measured   recall and speed, if they were measured
    caption    the column of its captions, if they are not the samples' own
    """

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    complete: bool = True
    embedding: str
    columns: str
    decision: str = ""
    inputs: dict[str, str] = {}
    metric: str = INNER_PRODUCT
    key: str = ""
    rows: Count = 0
    dimension: Annotated[int, Field(ge=1, le=65_536)] = 1
    contents: dict[str, str] = {}
    parts: list[Part] = []
    operator: dict[str, Any] | None = None
    pool: dict[str, Any] | None = None
    measured: dict[str, Any] | None = None
    caption: str = ""

    @model_validator(mode="before")
    @classmethod
    def _one_part(cls, data: Any) -> Any:
        """An index in one file lists no parts."""
        if not isinstance(data, dict) or data.get("parts"):
            return data
        named = [n for n in data.get("contents") or () if str(n).endswith(SUFFIX) and "/" not in str(n)]
        file = named[0] if len(named) == 1 else f"image{SUFFIX}"
        return {**data, "parts": [{"index": file, "metadata": METADATA, "rows": data.get("rows", 0)}]}

    @model_validator(mode="after")
    def _rows_add_up(self) -> "About":
        """The rows of the parts are those of the index."""
        if self.complete and (total := sum(part.rows for part in self.parts)) != self.rows:
            raise ValueError(f"rows is {self.rows:,}, and the parts have {total:,}")
        return self

    @property
    def probes(self) -> int | None:
        """The lists that a query must visit for the recall that was measured; None if that is not known."""
        found = (self.measured or {}).get("probes")
        return found if type(found) is int and found > 0 else None

    @property
    def files(self) -> list[str]:
        """The files of the parts."""
        return [name for part in self.parts for name in (part.index, part.metadata)]


def read_about(path: str, name: str | None = None) -> tuple[About, Mapping[str, str]]:
    """What the index in a folder says, and the states of its files when they were written. `name`: the
    manifest; by default the one that is there. Raises RecipeError if there is none, or it is not complete."""
    folder = Folder(path)
    name = name or next((name for name in NAMES if folder.exists(name)), NAMES[0])
    try:
        noted = read_noted(folder, name, STATES_FILE)
        if noted.manifest is None:
            raise MissingIndexError(
                f"{path} is not an index: it has no {name}; run `winnow export` first, or name its folder"
            )
        about = About.model_validate(noted.manifest)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        what = f"{key}: {first['msg']}" if key else first["msg"]
        raise RecipeError(
            f"{folder.path(name)} is garbled, or that of something else ({shortened(what)}); {AGAIN}"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise RecipeError(f"{folder.path(name)} is garbled, or that of something else; {AGAIN}") from None
    if not about.complete:
        raise RecipeError(f"{path} is not complete; {AGAIN}")
    if about.metric != INNER_PRODUCT:
        raise RecipeError(f"{path} is an index by {shortened(about.metric)}, must be by {INNER_PRODUCT}")
    return about, noted.states
