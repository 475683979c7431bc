"""Score, ImageScore and Stat: what an operator is, and the key under which its results are kept.

An operator's fields are its parameters: what a recipe may set and what the cache key hashes. Fields
annotated `Column`, `Table` or `File` are inputs: a column and a stat by name, a file by its content.
This module knows polars; no Ray, no torch, no I/O.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, NamedTuple

import numpy as np
import polars as pl
from polars._typing import PolarsDataType
from pydantic import BaseModel, ConfigDict

from pipeline.schema import owner


@dataclass(frozen=True)
class Role:
    """Marks a field as an input: `column`, `table` (a Stat's name) or `file` (hashed by content)."""

    kind: str


Column = Annotated[str, Role("column")]
Table = Annotated[str, Role("table")]
File = Annotated[str, Role("file")]
Files = Annotated[str | dict[str, str], Role("file")]  # one file, or one by name


class Device(NamedTuple):
    """Where an operator runs: `name` is a torch device name, `threads` how many CPU threads it may use."""

    name: str = "cpu"
    threads: int = 1


class Operator(BaseModel):
    """Base of Score and Stat. `needs` lists the sample columns, `x.y` columns and stats it reads by
    fixed name; those named by fields need not be repeated. Raise `version` when results change."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: ClassVar[int] = 1
    needs: ClassVar[tuple[str, ...]] = ()

    def fields_of(self, kind: str) -> Iterator[tuple[str, Any]]:
        """(field, value) of the fields with that role, those left empty aside."""
        for name, info in type(self).model_fields.items():
            marked = any(isinstance(mark, Role) and mark.kind == kind for mark in info.metadata)
            if marked and (value := getattr(self, name)):
                yield name, value

    def inputs(self) -> tuple[str, ...]:
        """Every column and stat this operator reads, by name, each once, in a stable order."""
        named = [v for kind in ("column", "table") for _, v in self.fields_of(kind)]
        return tuple(dict.fromkeys((*self.needs, *named)))

    def warnings(self) -> Sequence[str]:
        """What `winnow plan` should say about these fields before anything runs. Nothing by default."""
        return ()

    def owners(self) -> tuple[str, ...]:
        """The operators whose columns and stats this one reads, each once, in a stable order."""
        return tuple(dict.fromkeys(o for need in self.inputs() if (o := owner(need)) is not None))


class Writer(Operator):
    """What Score and ImageScore share: they add columns row by row; they never drop or reorder rows, or
    let one row affect another.

    `writes` maps a column's short name to its dtype (`pl.Array` stands for any width); it is stored as
    `<name>.<short>`. `score` returns exactly these, same rows, same order, and may add a String column
    `error` with the reason where a row lacks a result.
    """

    writes: ClassVar[Mapping[str, PolarsDataType]] = {}

    def setup(self, stats: Mapping[str, pl.DataFrame], device: Device) -> None:
        """Load models once per worker. `stats` holds the tables named among the inputs, by name."""

    def evidence(self, row: pl.DataFrame, stats: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
        """A small table by which a person can judge one row's result, for `winnow explain`: its nearest
        neighbours, say. `row` holds the needed columns; called without `setup`. Empty by default."""
        return pl.DataFrame()


class Score(Writer):
    """Adds columns computed from columns."""

    def score(self, batch: pl.DataFrame) -> pl.DataFrame:
        """`batch` holds the needed columns under their full names."""
        raise OperatorMissing(type(self), "score")


class ImageScore(Writer):
    """Adds columns computed from pixels."""

    def score(self, batch: pl.DataFrame, images: Sequence[np.ndarray | None]) -> pl.DataFrame:
        """`images[i]` is row i's image, (h, w, 3) uint8 RGB, read-only, or None where there is none or
        it cannot be decoded (the engine fills in the reason)."""
        raise OperatorMissing(type(self), "score")


class Stat(Operator):
    """Boils columns down to one small table by a commutative, associative reduction, so that shards can
    be reduced anywhere, in any order and grouping: use integers, or floats that sum exactly."""

    def partial(self, batch: pl.DataFrame) -> pl.DataFrame:
        """The table of one batch of rows."""
        raise OperatorMissing(type(self), "partial")

    def merge(self, parts: pl.DataFrame) -> pl.DataFrame:
        """One partial table out of several, stacked. Must accept its own output."""
        raise OperatorMissing(type(self), "merge")

    def finish(self, merged: pl.DataFrame) -> pl.DataFrame:
        """The table to store, in a fixed row order."""
        return merged

    def compare(
        self, before: pl.DataFrame, after: pl.DataFrame, sources: Mapping[str, Operator]
    ) -> Mapping[str, pl.DataFrame]:
        """Tables by name that show what a decision did: `before` is this Stat over all samples, `after` over
        those kept, `sources` the operators whose columns it reads. None by default."""
        return {}


class OperatorMissing(TypeError):
    """A subclass forgot to define a method."""

    def __init__(self, cls: type, method: str) -> None:
        super().__init__(f"{cls.__name__} must define {method}()")
