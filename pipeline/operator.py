"""Score, ImageScore, BytesScore, Stat and Group: the interface that an operator, yours or ours, fills in.

An operator is a class with one method or three. Its fields are its parameters: a recipe sets them, the cache
key hashes them. Fields annotated `Column` (or by what it holds: `Numbers`, `WholeNumbers`, `Flags`, `Texts`,
`Embedding`, `Bytes`), `Columns`, `Table`, `File` or `Files` are inputs: columns or a Stat by name, a file by
content (`pipeline.assets`). A Score or Group may read columns and Stats, a Stat columns, nothing else.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, NamedTuple, Protocol

import numpy as np
import polars as pl
from polars._typing import PolarsDataType
from pydantic import BaseModel, ConfigDict

from pipeline.errors import OperatorMissing
from pipeline.schema import like_path, owner


@dataclass(frozen=True)
class Role:
    """Marks a field as an input: `column`, `table` (a Stat's name) or `file` (hashed by content). `suits`
    tests a column's dtype, `expected` says it in words."""

    kind: str
    suits: Callable[[PolarsDataType], bool] = lambda dtype: True
    expected: str = ""


Column = Annotated[str, Role("column")]
Numbers = Annotated[str, Role("column", lambda d: d.is_numeric() or d == pl.Boolean, "numbers")]
WholeNumbers = Annotated[str, Role("column", lambda d: d.is_integer(), "whole numbers")]
Flags = Annotated[str, Role("column", lambda d: d == pl.Boolean, "true and false (Boolean)")]
Embedding = Annotated[str, Role("column", lambda d: d == pl.Array, "an Array (an embedding)")]
Bytes = Annotated[str, Role("column", lambda d: d == pl.Binary, "Binary, such as hashes")]
Texts = Annotated[str, Role("column", lambda d: d == pl.String, "texts")]
Columns = Annotated[str | tuple[str, ...], Role("column")]  # one column, or several
Table = Annotated[str, Role("table")]
File = Annotated[str, Role("file")]
Files = Annotated[str | dict[str, str], Role("file")]  # one file, or several by name
YOUNG = "young"  # marks a field that an operator got later: keys leave out its default, so stores stay whole


class Device(NamedTuple):
    """Where an operator runs: `name` is torch's name of the device, `threads` the CPU threads it may use."""

    name: str = "cpu"
    threads: int = 1


class Mark(NamedTuple):
    """A part of a picture: its corners, (x, y) in pixels as stored, and what is there ("" if unknown)."""

    corners: Sequence[tuple[float, float]]
    label: str = ""


class Operator(BaseModel):
    """Base of Score, Stat and Group. Fields are frozen; a method may set private attributes (`_model`) only.

    needs     columns and Stats that it reads under a fixed name; those of its fields need not be repeated
    version   part of the cache key: raise it when a change of the code changes results"""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: ClassVar[int] = 1
    needs: ClassVar[tuple[str, ...]] = ()

    def fields_of(self, kind: str) -> Iterator[tuple[str, Any]]:
        """(field, value) of each field with that role, for each value of a tuple and column of a dict."""
        for name, info in type(self).model_fields.items():
            value = getattr(self, name)
            if value and any(isinstance(mark, Role) and mark.kind == kind for mark in info.metadata):
                several = isinstance(value, (tuple, dict) if kind == "column" else tuple)
                yield from ((name, one) for one in (value if several else (value,)))

    def unfit(self, columns: Mapping[str, PolarsDataType]) -> Iterator[tuple[str, str, str]]:
        """(field, column, what it must be) of each column whose dtype does not suit its field."""
        for name, info in type(self).model_fields.items():
            column = getattr(self, name)
            for role in info.metadata:
                named = isinstance(role, Role) and isinstance(column, str) and column in columns
                if named and not role.suits(columns[column]):
                    yield name, column, role.expected

    def misfits(self, sources: Mapping[str, "Operator"]) -> Iterator[tuple[str, str]]:
        """(field, why) of each field that does not go with the operators it reads from, by name, such as a
        file for embeddings of another model: the recipe is refused. Must not read files. None by default."""
        yield from ()

    def inputs(self) -> tuple[str, ...]:
        """The name of every column and Stat that this operator reads, each once, in a stable order."""
        named = [value for kind in ("column", "table") for _, value in self.fields_of(kind)]
        return tuple(dict.fromkeys((*self.needs, *named)))

    def warnings(self) -> Sequence[str]:
        """Sentences about these fields that `winnow plan` prints. Must not read files. None by default."""
        return ()

    def doubts(self, rows: pl.DataFrame) -> Sequence[str]:
        """Sentences about some of the pool's rows, for `winnow plan` and the funnel. May read local files."""
        return ()

    def why_missing(self, field: str, value: str) -> str:
        """Why a value of a `File` field, not the path of a file, cannot be used, said before the start. Empty
        if it can, such as a tag of published weights. May read local files, not the network. By default, what
        has a slash or a suffix is a missing file."""
        return f"there is no file {value}" if like_path(value) else ""

    def lacks(self) -> Sequence[str]:
        """What this machine lacks: lines that begin with a field's name. May read local files."""
        return ()

    def why_broken(self, field: str, value: str) -> str:
        """Why the file here that a `File` field names cannot be used, as far as its start tells; or ""."""
        return ""

    def owners(self) -> tuple[str, ...]:
        """The operators whose columns and Stats this one reads, each once, in a stable order."""
        return tuple(dict.fromkeys(o for need in self.inputs() if (o := owner(need)) is not None))


class DeviceDecoder(Protocol):
    """Decodes images on a device, into whatever the operators that offer it take instead of arrays."""

    def decode(self, jpegs: Sequence[bytes]) -> Sequence[Any]:
        """The pictures on the device; None for each that it refuses."""

    def put(self, pictures: Sequence[np.ndarray]) -> Sequence[Any]:
        """Pictures that the CPU has decoded, (h, w, 3) uint8, on the device."""


class Writer(Operator):
    """Base of Score, ImageScore, BytesScore and Group, which add columns. `writes` maps a column's short name
    to its dtype (`pl.Array` stands for any width). The column is stored as `<name>.<short>`, <name> being the
    operator's key in the recipe. A row without a result is null; an extra String column `error` may give the
    reason."""

    writes: ClassVar[Mapping[str, PolarsDataType]] = {}

    def setup(self, stats: Mapping[str, pl.DataFrame], device: Device) -> None:
        """Called once per worker, first: load models here, and import heavy libraries. `stats`: the table of
        each Stat among the inputs, by name. Nothing by default."""

    def uses_gpu(self) -> bool:
        """Whether it runs a network on the GPU that `setup` may get, so that a slow run advises one."""
        return False

    def evidence(
        self, row: pl.DataFrame, stats: Mapping[str, pl.DataFrame], sources: Mapping[str, Operator]
    ) -> pl.DataFrame:
        """A small table for `winnow explain` by which a person can judge one row's result, such as its
        nearest neighbours. A column `uid` names other samples. Called without `setup`. Empty by default.

        row      (1, inputs and own columns): inputs under their full names, own ones like `.words`
        sources  the operators whose columns it reads, by name"""
        return pl.DataFrame()

    def marks(self, row: pl.DataFrame) -> Sequence[Mark]:
        """What this operator found where in the picture, to be drawn on it. `row` as in `evidence`. Called
        without `setup`. Nothing by default."""
        return ()

    def shown(self, row: pl.DataFrame, image: np.ndarray) -> np.ndarray | None:
        """The picture as this operator sees it, (h, w, 3) uint8, if not as it is. `row` as in `evidence`,
        `image` as in `ImageScore.score`. Called without `setup`. None by default."""
        return None


class Score(Writer):
    """Computes columns from columns, row by row. `score` returns exactly the columns of `writes`, the same
    rows in the same order. It must not let one row affect another, or results depend on how rows are cut into
    batches. If it raises, it is called row by row; rows that raise are null, with the exception as reason.
    An OperatorError ends the pass if a frame has another shape or dtype, or if all of 16 rows raise."""

    def score(self, batch: pl.DataFrame) -> pl.DataFrame:
        """`batch`: (n, inputs), the input columns under their full names; n may be 0. Returns (n, writes)."""
        raise OperatorMissing(type(self), "score")


class ImageScore(Writer):
    """Computes columns from pixels, row by row. See Score."""

    def score(self, batch: pl.DataFrame, images: Sequence[np.ndarray | None]) -> pl.DataFrame:
        """`batch` as in `Score.score`. `images[i]`: row i's image, (h, w, 3) uint8 RGB, read-only because
        operators share it; None if it is missing or cannot be decoded (the engine fills in `error`)."""
        raise OperatorMissing(type(self), "score")

    def device_decoder(self) -> "DeviceDecoder | None":
        """Asked after `setup`: what decodes images on this operator's device. It then takes all images so,
        unless another operator of its stage takes arrays only. None by default."""
        return None

    def works_ahead(self) -> bool:
        """Asked after `setup`: whether workers call the next three in place of `score`, so that a device has
        work while others end. Not if an operator of the same stage writes an input. False by default."""
        return False

    def prepare(self, batch: pl.DataFrame, images: Sequence[np.ndarray | None]) -> Any:
        """What is needed of the pictures of a batch's next rows, which are not kept. Calls may overlap."""

    def launch(self, batch: pl.DataFrame, prepared: Sequence[Any]) -> Any:
        """Give a whole batch to the device and wait for nothing. `prepared`: what `prepare` returned for each
        part of it, in order. Calls for several batches may overlap. Returns `prepared` by default."""
        return prepared

    def complete(self, batch: pl.DataFrame, launched: Any) -> pl.DataFrame:
        """The result of `score`, from what `launch` returned. Calls never overlap."""
        raise OperatorMissing(type(self), "complete")


class BytesScore(Writer):
    """Computes columns from encoded images, row by row. Nothing is decoded for it. See Score."""

    def score(self, batch: pl.DataFrame, data: Sequence[memoryview | None]) -> pl.DataFrame:
        """`batch` as in `Score.score`. `data[i]`: the bytes of row i's image as they are in the pool,
        read-only; None if it is missing (the engine fills in `error`)."""
        raise OperatorMissing(type(self), "score")


class Group(Writer):
    """Computes columns from all rows that share a key, at once: the copies of one picture, the images of a
    cluster. What it writes for a group depends on the rows of that group, and on nothing else. A row whose
    key is null belongs to no group; its columns are null. An exception, or a frame of another shape or dtype,
    ends the pass with an OperatorError."""

    def keys(self) -> tuple[str, ...]:
        """The columns whose values, together, are the key, each among `inputs()`: integers, text, or bytes.
        Or one list, each element of which is a key: a row then has several groups, for `combine` to join."""
        raise OperatorMissing(type(self), "keys")

    def most_rows(self) -> int | None:
        """A larger group is split, by its rows' uids, into groups of about equal size; the log says how many
        were. None, the default, splits no group: then the largest one must fit into memory."""
        return None

    def group(self, rows: pl.DataFrame) -> pl.DataFrame:
        """`rows`: (n, uid and inputs) under their full names: whole groups, any number of them, one after the
        other, a group's rows sorted by uid; a list of keys comes as the one key of this group. Returns
        (n, writes), the same rows in the same order."""
        raise OperatorMissing(type(self), "group")

    def combine(self, rows: pl.DataFrame) -> pl.DataFrame:
        """One result for each row of the pool, if the key is a list. `rows`: (m, `of` and writes): equal
        values of `of`, an integer, mark the results of one row, which lie together, in an order that depends
        on their keys alone. Returns (n, `of` and writes), each value of `of` once, in the same order."""
        raise OperatorMissing(type(self), "combine")


class SummaryGroup(Group):
    """A Group that needs a small summary of each group only: its size, its first rows by some order. No
    process holds all rows. The methods get any rows, in any order; results must not depend on it."""

    def partial(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The summary of rows, (n, uid and inputs): few rows for each key, with the columns of the key."""
        raise OperatorMissing(type(self), "partial")

    def merge(self, parts: pl.DataFrame) -> pl.DataFrame:
        """One summary out of several, stacked in any order. Must accept its own output among them."""
        raise OperatorMissing(type(self), "merge")

    def of_summary(self, rows: pl.DataFrame, summary: pl.DataFrame) -> pl.DataFrame:
        """(n, writes), row by row. `summary`: the merged table of these rows' whole groups, and of others."""
        raise OperatorMissing(type(self), "of_summary")

    def group(self, rows: pl.DataFrame) -> pl.DataFrame:
        """See Group."""
        return self.of_summary(rows, self.partial(rows))


class Stat(Operator):
    """Reduces columns to one small table. Shards are reduced anywhere and merged in any order and grouping,
    so the result must not depend on them: count in integers, or in floats that sum exactly. An exception, or
    anything but a frame, ends the pass with an OperatorError."""

    def partial(self, batch: pl.DataFrame) -> pl.DataFrame:
        """The partial table of one batch, which is as in `Score.score`."""
        raise OperatorMissing(type(self), "partial")

    def merge(self, parts: pl.DataFrame) -> pl.DataFrame:
        """One partial table out of several, stacked in any order. Must accept its own output among them."""
        raise OperatorMissing(type(self), "merge")

    def finish(self, merged: pl.DataFrame) -> pl.DataFrame:
        """The table to store, from the pool's one partial table, which it is by default. Sort its rows."""
        return merged

    def compare(
        self, before: pl.DataFrame, after: pl.DataFrame, sources: Mapping[str, Operator]
    ) -> Mapping[str, pl.DataFrame]:
        """Tables by name for `winnow effects`. `before`: this Stat over all samples; `after`: over those that
        are kept; `sources`: the operators whose columns it reads, by name. None by default."""
        return {}


def reads_images(operator: Operator) -> bool:
    """Whether an operator needs the encoded images of the pool."""
    return isinstance(operator, ImageScore | BytesScore)
