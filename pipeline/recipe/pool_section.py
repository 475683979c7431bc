"""`pool` of a recipe: where the samples are, and what is read of them."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from pipeline.errors import brief


class Section(BaseModel):
    """A part of a recipe. An unknown key is an error; instances are read-only."""

    model_config = ConfigDict(extra="forbid", frozen=True)


# The parts of a sample that a table can hold.
PARTS = ("image", "text", "url", "uid", "key", "width", "height", "original_width", "original_height")

NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"  # of a recipe or pool: it names folders
MOST_PLACES = 16  # of captions
MOST_PLACE = 200  # characters of one
MOST_NAME = 100  # characters of a name: with what stores add, file systems take at most 255


class Pool(Section):
    """`pool`: where the samples are, and where to keep what is computed about them.

        pool: {shards: "s3://mine/pool/{00000..01287}.tar", store: s3://mine/store}
        pool: {shards: photos/, kind: files, store: store}
        pool: {shards: laion.csv, columns: {text: TITLE, url: LINK}, store: store}
        pool: {shards: "recap/*.tar", caption: [json.recaption, txt], store: store}
        pool: {shards: "train-*.parquet", kind: image_tables, columns: {text: prompt}, store: store}
        pool: {datacomp: metadata/, store: store}

    store     the folder for results: a path or a URL of any fsspec file system. One store per pool
    name      a name for the pool, if a store holds the results of several: each then has a folder of its own
    shards    a path, URL, glob (`pool/*.tar`), brace pattern (`{00..99}.tar`), or folder (searched to any
              depth); or a list of these. The files are tars of images and captions (WebDataset), or tables
              (parquet, TSV, CSV, JSON lines) of captions and URLs only
    datacomp  instead of `shards`: a DataComp metadata folder (parquet, npz). Its scores and embeddings are
              columns (`datacomp.b32_score`) without being computed
    kind      how to read `shards`: `tars`, `tables`, `files` (a folder of name.jpg + name.txt + name.json) or
              `image_tables` (parquet with a column of images, as on the Hugging Face hub). Only the last two
              must be given; the others are told by the files' names
    columns   for tables: which column holds which part of a sample (text, url, uid, key, width, height,
              original_width, original_height; of `image_tables` also image), by name, or by position from 0
              if a TSV or CSV has no header line: `{text: 0, url: 1}`. Default: the names that img2dataset,
              DataComp, LAION and COYO use
    caption   the place of the captions, or a list of places, the first choice first: of tars and files `txt`
              or `json.KEY`, a key of the json; of tables a column. A list at a place holds several captions.
              The first one found is the sample's `text`; all are the column `captions`. Default: the txt
              member, else `caption` or `text` of the json, and the first of a list; there is no `captions`
    """

    shards: str | tuple[str, ...] | None = None
    datacomp: Annotated[str, Field(min_length=1)] | None = None
    store: str
    name: Annotated[str, Field(pattern=NAME, max_length=MOST_NAME)] | None = None
    kind: str | None = None
    columns: dict[str, str | int] = {}
    caption: tuple[str | int, ...] = ()

    @property
    def folder(self) -> str:
        """The folder that holds the pool's results: the store, or the pool's own folder in it."""
        return f"{self.store.rstrip('/')}/pools/{self.name}" if self.name else self.store

    @property
    def kind_name(self) -> str | None:
        """The kind of pool, or None if the recipe leaves it to the names of the files."""
        return "datacomp" if self.datacomp else self.kind

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths that say where the pool is."""
        if self.datacomp:
            return (self.datacomp,)
        return (self.shards,) if isinstance(self.shards, str) else self.shards or ()

    @model_validator(mode="after")
    def _shards_or_datacomp(self) -> "Pool":
        """Exactly one of `shards` and `datacomp`, and no key that the other one uses."""
        if (self.shards is None) == (self.datacomp is None):
            both = "both" if self.shards else "none"
            raise ValueError(
                f"must have exactly one of shards (tars, tables, files) and datacomp (a folder), got {both}"
            )
        if self.datacomp and self.kind:
            raise ValueError("has a kind, which only `shards` takes")
        if self.datacomp and self.columns:
            raise ValueError("has columns, which only the tables of `shards` use")
        return self

    @field_validator("shards", mode="before")
    @classmethod
    def _path_or_paths(cls, value: Any) -> Any:
        """A text or a list of texts."""
        paths = [value] if isinstance(value, str) else value
        if not isinstance(paths, list | tuple) or not all(isinstance(path, str) for path in paths):
            raise ValueError(f"must be a path or a list of paths, got {brief(value)}")
        return value

    @field_validator("caption", mode="before")
    @classmethod
    def _place_or_places(cls, value: Any) -> Any:
        """A place or several, none twice."""
        places = value if isinstance(value, list | tuple) else (value,)
        if not all((isinstance(p, str) and p) or (type(p) is int and p >= 0) for p in places):
            raise ValueError(
                f"must be a place such as txt or json.KEY, or a list of them, got {brief(value)}"
            )
        if long := next((place for place in places if len(str(place)) > MOST_PLACE), None):
            raise ValueError(f"must be places of at most {MOST_PLACE} characters, got {brief(long)}")
        if len(set(places)) < len(places) or len(places) > MOST_PLACES:
            raise ValueError(f"must name at most {MOST_PLACES} places, none twice, got {brief(value)}")
        return tuple(places)

    @field_validator("columns", mode="before")
    @classmethod
    def _names_or_positions(cls, value: Any) -> Any:
        """Known parts, all by name or all by position."""
        if not isinstance(value, dict):
            raise ValueError(
                f"must map parts of a sample to columns, such as {{text: TITLE}}, got {brief(value)}"
            )
        if unknown := [part for part in value if part not in PARTS]:
            raise ValueError(f"must be of {', '.join(PARTS)}, got {brief(unknown[0])}")
        names = list(value.values())
        if not all(isinstance(n, str) for n in names) and not all(type(n) is int and n >= 0 for n in names):
            raise ValueError(f"must be all names, or all positions from 0, got {brief(value)}")
        return value
