"""The three kinds of task of a Group's pass. Each may run on any machine, over the store.

Scatter   reads the columns of a run of shards and writes its rows, cut by partition
Meet      reads a partition of all runs, lets the Group see its groups, and writes their results, by run
Gather    reads the results of a run from all partitions and publishes the parts of its shards
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from pipeline.operator import Group, SummaryGroup
from pipeline.run.groups.cells import compact, read_cells, writing
from pipeline.run.groups.reasons import reasons_of
from pipeline.run.groups.splitting import Splits, parts_of, splits_of
from pipeline.run.groups.work import GroupWork
from pipeline.run.stage.calls import checked
from pipeline.run.stats import called, merged_parts
from pipeline.storage import layout
from pipeline.storage.retry import persist

FITS = 2  # times what a task should hold: a partition that is larger, by keys that are many rows, is streamed


@dataclass(frozen=True)
class Scatter:
    """Takes the number of a run."""

    work: GroupWork

    def __call__(self, number: int) -> int:
        """Writes the rows of the run that have a key, and returns how many there are."""
        return persist(lambda: self._write(number))

    def _write(self, number: int) -> int:
        work = self.work
        rows = 0
        with writing(work.columns.store, work.rows_file(number)) as cells:
            for frame in work.frames(number):
                keyed = with_keys(work.operator, frame)
                rows += len(keyed)
                if len(keyed):
                    cells.write(keyed, partitions_of(work.operator, keyed, work.partitions))
        return rows


@dataclass(frozen=True)
class Met:
    """How many groups of a partition were too large and were split, and their rows."""

    split_groups: int = 0
    split_rows: int = 0


@dataclass(frozen=True)
class Meet:
    """Takes the number of a partition."""

    work: GroupWork
    threads: int

    def __call__(self, number: int) -> Met:
        """Writes the results of the partition. Raises OperatorError."""
        return persist(lambda: self._write(number))

    def _write(self, number: int) -> Met:
        work = self.work
        splits = self._splits(number)
        operator = work.set_up(self.threads)
        with writing(work.columns.store, work.results_file(number)) as cells:
            for rows in self._results(operator, number, splits):
                cells.write(rows.drop("run"), rows["run"].to_numpy())
            met = Met(len(splits.parts), splits.rows)
            cells.notes.update(groups=met.split_groups, rows=met.split_rows)
        return met

    def _splits(self, number: int) -> Splits:
        """The groups that must be split."""
        most = self.work.operator.most_rows()
        if most is None:
            return Splits()
        keys = self.work.operator.keys()
        counted = (rows.select(keys).group_by(keys).len() for rows in self._slices(number, list(keys)))
        return splits_of(counted, keys, most)

    def _results(self, operator: Group, number: int, splits: Splits) -> Iterator[pl.DataFrame]:
        """The results of all rows, see `result_of`."""
        work = self.work
        if isinstance(operator, SummaryGroup):
            yield from self._summarised(operator, number)
            return
        for rows in parts_of(lambda: self._slices(number), operator.keys(), splits, FITS * work.hold):
            ordered = rows.sort([*operator.keys(), "uid", "run", "at"])
            yield result_of(work, operator, ordered, "group", [ordered]).sort("run", "at")

    def _summarised(self, operator: SummaryGroup, number: int) -> Iterator[pl.DataFrame]:
        """The results of a Group that needs only a summary: what fits is held, the rest is read twice."""
        slices = self._held(number) or (lambda: self._slices(number))
        summary = summary_of(self.work.name, operator, slices())
        for rows in slices():
            assert summary is not None
            yield result_of(self.work, operator, rows, "of_summary", [rows, summary])

    def _held(self, number: int) -> Callable[[], Iterable[pl.DataFrame]] | None:
        """All rows of the partition as one frame, if a task can hold them."""
        held: list[pl.DataFrame] = []
        for rows in self._slices(number):
            held.append(rows)
            if sum(map(len, held)) * self.work.row_bytes > FITS * self.work.hold:
                return None
        whole = [pl.concat(held)] if held else []
        return lambda: whole

    def _slices(self, number: int, columns: Sequence[str] | None = None) -> Iterator[pl.DataFrame]:
        """The rows of the partition, run after run, with the number of the run."""
        for run in range(len(self.work.runs)):
            for rows in read_cells(self.work.columns.store, self.work.rows_file(run), number, columns):
                yield rows.with_columns(run=pl.lit(run, pl.UInt32))


@dataclass(frozen=True)
class Gather:
    """Takes the number of a run. `missing`: the shards that have no part yet; `folder`: where parts go."""

    work: GroupWork
    folder: str
    missing: Collection[str]

    def __call__(self, number: int) -> tuple[int, int]:
        """Publishes the parts of the run's shards that are missing. Returns (rows, rows without a result)."""
        return persist(lambda: self._publish(number))

    def _publish(self, number: int) -> tuple[int, int]:
        run = self.work.runs[number]
        if not any(shard.name in self.missing for shard in run):
            return 0, 0
        frame = self._joined(number)
        failed = len(frame) - frame[f"{self.work.name}.error"].null_count()
        start = 0
        for shard in run:
            part = frame.slice(start, shard.rows)
            start += shard.rows
            if shard.name in self.missing:
                self.work.columns.samples.check(shard)
                own = [
                    pl.lit(shard.name).alias("shard"),
                    pl.int_range(pl.len(), dtype=pl.UInt32).alias("row"),
                ]
                part = part.select(*own, *frame.columns)
                path = layout.part(self.folder, shard.name)
                self.work.columns.store.write(path, part, {"content": shard.content})
        return len(frame), failed

    def _joined(self, number: int) -> pl.DataFrame:
        """The Group's columns, by full name, `error` last, for every row of a run, in order."""
        work = self.work
        count = sum(shard.rows for shard in work.runs[number])
        results = self._results(number)
        places = np.full(count, -1)
        places[results["at"].to_numpy()] = np.arange(len(results))
        lost = pl.Series(places < 0)
        index = pl.Series(places).set(lost, None)
        frame = results.drop("at").select(pl.all().gather(index))
        empty = frame.select(pl.all_horizontal(pl.all().is_null())).to_series()
        if not empty.any():
            return frame
        reasons = reasons_of(work, number)
        found = pl.when(lost).then(reasons["keys"]).when(empty).then(reasons["inputs"])
        reason = found.otherwise(pl.col(f"{work.name}.error"))
        return frame.with_columns(reason.alias(f"{work.name}.error"))

    def _results(self, number: int) -> pl.DataFrame:
        """`at` and the Group's columns of the rows that have a key, each once."""
        work = self.work
        frames = [
            rows
            for partition in range(work.partitions)
            for rows in read_cells(work.columns.store, work.results_file(partition), number)
        ]
        if not frames:
            return _no_results(work)
        frame = pl.concat(frames)
        if not work.is_list:
            return frame
        return self._combined(frame.sort("at", "hash").drop("hash"))

    def _combined(self, frame: pl.DataFrame) -> pl.DataFrame:
        """One result per row, where a row has a list of keys."""
        operator = self.work.operator
        prefix = f"{self.work.name}."
        short = frame.rename({c: c.removeprefix(prefix) for c in frame.columns if c != "at"})
        combined = called(self.work.name, operator, "combine", [short.rename({"at": "of"}).drop("error")])
        result = checked(self.work.name, operator, combined.drop("of"), frame["at"].n_unique(), "combine")
        return result.insert_column(0, combined["of"].alias("at"))


def with_keys(operator: Group, frame: pl.DataFrame) -> pl.DataFrame:
    """The rows that have a key; a list of keys makes several rows."""
    keys = list(operator.keys())
    if frame.schema[keys[0]].base_type() == pl.List:
        frame = frame.with_columns(pl.col(keys[0]).list.unique()).explode(keys[0])
    return frame.drop_nulls(keys)


def hashes(operator: Group, frame: pl.DataFrame) -> pl.Series:
    """(n,) UInt64: a hash of each row's key. Equal in all processes with the same polars."""
    return frame.select(operator.keys()).hash_rows(0)


def partitions_of(operator: Group, frame: pl.DataFrame, count: int) -> np.ndarray:
    """(n,) the partition of each row."""
    numbers: np.ndarray = ((hashes(operator, frame).to_numpy() >> np.uint64(32)) % np.uint64(count)).astype(
        np.int64
    )
    return numbers


def summary_of(name: str, operator: SummaryGroup, slices: Iterable[pl.DataFrame]) -> pl.DataFrame | None:
    """The merged summary of some rows; None without any."""
    summary: pl.DataFrame | None = None
    for rows in slices:
        part = called(name, operator, "partial", [rows.drop("run", "at")])
        if summary is not None:
            part = merged_parts(name, operator, [summary, part])
        summary = compact(part)
    return summary


def result_of(
    work: GroupWork, operator: Group, rows: pl.DataFrame, method: str, frames: Sequence[pl.DataFrame]
) -> pl.DataFrame:
    """What a method of a Group writes for some rows, with their `run` and `at`, and the `hash` of the key if
    a row may have several."""
    first, *others = frames
    result = called(work.name, operator, method, [first.drop("run", "at"), *others])
    own = rows.select("run", "at")
    if work.is_list:
        own = own.with_columns(hash=hashes(operator, rows))
    return own.hstack(checked(work.name, operator, result, len(rows), method))


def _no_results(work: GroupWork) -> pl.DataFrame:
    """The result of no row."""
    schema = {f"{work.name}.{c}": dtype for c, dtype in work.operator.writes.items()}
    return pl.DataFrame(schema={"at": pl.UInt32, **schema, f"{work.name}.error": pl.String})
