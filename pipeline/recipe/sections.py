"""The sections of a recipe, as checked data.

A recipe has `pool`, `compute`, `keep`, `export`, `run` and `plugins`; each is a class here, and its docstring
says what each key means.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import fsspec
import polars as pl
from polars._typing import PolarsDataType
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from pipeline.operator import Operator
from pipeline.rule import Rule


@dataclass(frozen=True)
class Entry:
    """One line of `compute`: the import path, the instance, and the content hash of a plugin's source
    (so that an edited plugin is computed anew)."""

    use: str
    operator: Operator
    source: str | None = None


class Section(BaseModel):
    """A part of a recipe: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


PARTS = ("text", "url", "uid", "key", "width", "height", "original_width", "original_height")


class Pool(Section):
    """Where the samples are: `shards` a path, brace pattern, glob, folder, or a list of them, on any
    fsspec file system, of tars, or of tables (parquet, TSV, CSV, JSON lines) that hold captions and URLs
    only; `store` the folder that keeps everything computed about them. Instead of `shards`, `datacomp` names
    a DataComp metadata folder, parquet and npz, whose scores and embeddings are columns as they are.

    `columns` tells where a table has what: {text: TITLE, url: LINK} where the names are not the usual
    ones, or positions from 0, {text: 0, url: 1}, where a TSV or CSV has no header line.
    """

    shards: str | tuple[str, ...] | None = None
    datacomp: Annotated[str, Field(min_length=1)] | None = None
    store: str
    columns: dict[str, str | int] = {}

    @model_validator(mode="after")
    def _one_kind(self) -> "Pool":
        if (self.shards is None) == (self.datacomp is None):
            both = "both" if self.shards else "none"
            raise ValueError(
                f"must have exactly one of shards (tars, tables) and datacomp (a folder), got {both}"
            )
        if self.datacomp and self.columns:
            raise ValueError("has columns, which only the tables of `shards` use")
        return self

    @field_validator("shards", mode="before")
    @classmethod
    def _path_or_paths(cls, value: Any) -> Any:
        paths = [value] if isinstance(value, str) else value
        if not isinstance(paths, list | tuple) or not all(isinstance(path, str) for path in paths):
            raise ValueError(f"must be a path or a list of paths, got {value!r}")
        return value

    @field_validator("columns", mode="before")
    @classmethod
    def _names_or_positions(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            raise ValueError(f"must map parts of a sample to columns, such as {{text: TITLE}}, got {value!r}")
        if unknown := [part for part in value if part not in PARTS]:
            raise ValueError(f"must be of {', '.join(PARTS)}, got {unknown[0]!r}")
        names = list(value.values())
        if not all(isinstance(n, str) for n in names) and not all(type(n) is int and n >= 0 for n in names):
            raise ValueError(f"must be all names, or all positions from 0, got {value!r}")
        return value

    @field_validator("store")
    @classmethod
    def _known_file_system(cls, value: str) -> str:
        try:
            fsspec.get_filesystem_class(fsspec.utils.get_protocol(value))
        except (ValueError, ImportError) as error:
            raise ValueError(f"must be a folder on a known file system, got {value!r}: {error}") from None
        return value


@dataclass(frozen=True)
class Destination:
    """Marks a field of `export` as the path of one export. `images`: the export copies the pool's images."""

    images: bool = False


@dataclass(frozen=True)
class ColumnName:
    """Marks a field of `export` as the name of a column that the export reads. `suits` tests the column's dtype;
    `expected` says in words which dtypes do."""

    suits: Callable[[PolarsDataType], bool]
    expected: str


EMBEDDING = ColumnName(lambda dtype: dtype == pl.Array, "an Array (an embedding)")
WHOLE_NUMBERS = ColumnName(lambda dtype: dtype.is_integer(), "whole numbers (how often)")


class Index(Section):
    """A FAISS index of one embedding column of the kept samples. `factory` is FAISS's factory string, or
    `auto` to choose by the number of rows."""

    embedding: Annotated[str, EMBEDDING]
    path: Annotated[str, Destination()]
    factory: str = "auto"


class Export(Section):
    """The files that `winnow export` writes. Each export is one field here and one entry of
    `pipeline.export.exporters.EXPORTERS`. The marks on the fields are all that the recipe's check, the
    check of paths on a cluster, and the key of a decision need to know of an export.

    shards    a folder of tars with the kept samples
    subset    a .npy file of their uids, as DataComp's training code reads it
    urls      a folder of parquet files: the list that img2dataset downloads
    index     a FAISS index of their embeddings
    repeats   a column of whole numbers: how often `shards` and `subset` hold each kept sample
    samples_per_shard   samples in every tar of `shards` but the last
    """

    shards: Annotated[str | None, Destination(images=True)] = None
    subset: Annotated[str | None, Destination()] = None
    repeats: Annotated[str | None, WHOLE_NUMBERS] = None
    urls: Annotated[str | None, Destination()] = None
    index: Index | None = None
    samples_per_shard: Annotated[int, Field(ge=1, le=10_000)] = 10_000

    def destinations(self) -> dict[str, tuple[str, Destination]]:
        """(path, mark) of each export that the recipe asks for, by key: `export.index.path`."""
        return {key: (value, mark) for key, value, mark in _marked(self, Destination, "export")}

    def columns(self) -> dict[str, tuple[str, ColumnName]]:
        """(column, mark) of each column that the exports read, by key: `export.index.embedding`."""
        return {key: (value, mark) for key, value, mark in _marked(self, ColumnName, "export")}


Mark = TypeVar("Mark")


def _marked(section: Section, kind: type[Mark], key: str) -> Iterator[tuple[str, str, Mark]]:
    """(key, value, mark) of the fields with such a mark that are not empty, at any depth of a section."""
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, Section):
            yield from _marked(value, kind, f"{key}.{name}")
        elif value:
            yield from ((f"{key}.{name}", value, mark) for mark in field.metadata if isinstance(mark, kind))


class Resources(Section):
    """`run.<operator>`: speed, never results. Operators that ask for the same share one worker pool.
    `run.index`, of which only cpus and memory count, is the machine that builds `export.index`.

    gpus, cpus  what each worker reserves (fractions allowed)
    memory      GiB that each worker reserves: it lies on a machine that has as much
    workers     how many; default one per GPU, or one per CPU
    batch_size  rows handed to the operator at a time; default by what the pool does (plan.ROWS)
    """

    gpus: Annotated[float, Field(ge=0)] = 0
    cpus: Annotated[float, Field(gt=0)] | None = None
    memory: Annotated[float, Field(gt=0)] | None = None
    workers: Annotated[int, Field(ge=1)] | None = None
    batch_size: Annotated[int, Field(ge=1, le=16_384)] | None = None


class Recipe(Section):
    """A checked recipe. `compute` holds operator instances in dependency order."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")] = "recipe"
    pool: Pool
    compute: dict[str, Entry] = {}
    keep: dict[str, Rule] = {}
    export: Export = Export()
    run: dict[str, Resources] = {}
    plugins: tuple[str, ...] = ()

    @field_validator("keep", mode="before")
    @classmethod
    def _column_defaults_to_key(cls, rules: Any) -> Any:
        if not isinstance(rules, dict):
            return rules
        return {k: {"column": k, **v} if isinstance(v, dict) else v for k, v in rules.items()}

    def operator(self, name: str) -> Operator:
        """The instance that `compute.<name>` describes."""
        return self.compute[name].operator

    def resources(self, name: str) -> Resources:
        """`run.<name>`, or the defaults."""
        return self.run.get(name, Resources())
