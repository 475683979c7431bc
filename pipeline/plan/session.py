"""A recipe bound to its pool and its store: shards, keys, what is stored, which shards are complete."""

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import orjson

from pipeline.errors import RecipeError, ShardError, worded
from pipeline.operator import ImageScore, Stat, identity, owner
from pipeline.plan.passes import Stored, closure, folder, input_keys, keys, stat_path
from pipeline.pool.columns import Columns
from pipeline.pool.datacomp import EMBEDDINGS, Metadata, known_rows
from pipeline.pool.shards import Shard, list_shards
from pipeline.pool.table_reader import check_table, reading
from pipeline.pool.text_tables import Break
from pipeline.recipe.load import Recipe
from pipeline.storage.digests import field_digest
from pipeline.storage.retry import from_storage
from pipeline.storage.store import Store

DECISIONS = 3  # format of what a decision's folder holds; raise it when that changes


@dataclass(frozen=True)
class Session:
    """What every command works on."""

    recipe: Recipe
    shards: tuple[Shard, ...]

    @classmethod
    def open(cls, recipe: Recipe, limit: int | None = None) -> "Session":
        """List the pool's shards (the first `limit` of them). Raises RecipeError."""
        if recipe.pool.datacomp is not None:
            return cls(recipe, tuple(_metadata_shards(recipe, recipe.pool.datacomp)[:limit]))
        assert recipe.pool.shards is not None  # the recipe's check sees to it
        try:
            shards = list_shards(recipe.pool.shards)
        except Exception as error:
            if not (isinstance(error, ValueError | ImportError) or from_storage(error)):
                raise
            text = str(error)
            raise RecipeError(text if text.startswith("pool.shards") else f"pool.shards: {text}") from None
        _check_kind(recipe, shards[0])
        return cls(recipe, tuple(shards[:limit]))

    def without(self, names: Collection[str]) -> "Session":
        """The same session over fewer shards."""
        return replace(self, shards=tuple(s for s in self.shards if s.name not in names)) if names else self

    @cached_property
    def store(self) -> Store:
        """The recipe's store."""
        return Store(self.recipe.pool.store)

    @cached_property
    def columns(self) -> Columns:
        """The columns of the pool's shards."""
        return Columns(self.recipe.pool.store, self.keys, self.recipe.pool.datacomp)

    @property
    def sample_folders(self) -> tuple[str, ...]:
        """Where in the store samples lie; nowhere, where a DataComp folder holds them."""
        return () if self.recipe.pool.datacomp else ("samples",)

    def rows(self) -> dict[str, int]:
        """Shard -> samples, of the shards whose samples are known. Raises RecipeError."""
        names = [shard.name for shard in self.shards]
        if metadata := self.columns.metadata:
            return known_rows(metadata, self.store.files, names)
        return self.store.rows("samples", names)

    @cached_property
    def contents(self) -> dict[str, dict[str, Any]]:
        """Digests of the files that operators' fields name; a field with several has one by name."""
        return {
            name: {
                field: digest
                for field, paths in entry.operator.fields_of("file")
                if (digest := field_digest(paths, self.store.files)) is not None
            }
            for name, entry in self.recipe.compute.items()
        }

    @cached_property
    def keys(self) -> dict[str, str]:
        """Operator name -> cache key."""
        return keys(self.recipe, self.shards, self.contents)

    def folder(self, name: str) -> str:
        """Where an operator's parts lie."""
        return folder(name, self.keys[name])

    @cached_property
    def decisions(self) -> str:
        """decisions/<recipe>-<key>: the key covers rules, the keys of what they read, and the shards."""
        owners = sorted({o for c in self.columns_read() if (o := owner(c)) is not None})
        covered = [
            DECISIONS,
            [(name, rule.model_dump(mode="json")) for name, rule in self.recipe.keep.items()],
            {owner: self.keys[owner] for owner in owners},
            [shard.name for shard in self.shards],
        ]
        key = hashlib.blake2b(orjson.dumps(covered), digest_size=8).hexdigest()
        return f"decisions/{self.recipe.name}-{key}"

    def describe(self, name: str) -> bytes:
        """`meta.json` beside an operator's parts: in clear, what its key stands for."""
        entry = self.recipe.compute[name]
        inputs = input_keys(entry, self.keys)
        found = identity(entry.use, entry.operator, inputs, self.contents.get(name, {}))
        return orjson.dumps({"name": name, **found}, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS)

    def stored(self) -> Stored:
        """What the store holds of this recipe: a part counts if it has as many rows as its samples. Raises
        RecipeError where the pool is not as the recipe says."""
        names = [shard.name for shard in self.shards]
        samples = self.rows()
        if self.sample_folders:
            self._check_reading(samples)
        parts: dict[str, Collection[str]] = {"samples": samples.keys()}
        for name in self.recipe.compute:
            if not isinstance(self.recipe.operator(name), Stat):
                rows = self.store.rows(self.folder(name), names)
                parts[self.folder(name)] = {s for s, count in rows.items() if samples.get(s) == count}
        stats = [stat_path(name, key) for name, key in self.keys.items()]
        return Stored(parts, {path for path in stats if self.store.files.exists(path)}, samples)

    def _check_reading(self, indexed: Collection[str]) -> None:
        """The samples there are were read as the recipe says; where there are none yet, the first table has
        the columns it should. (A later one that lacks them stays pending.)"""
        first = next((shard for shard in self.shards if shard.name in indexed), None)
        columns = self.recipe.pool.columns
        if first is None:
            _check_first(self.shards[:1], columns)
        elif footer := self.store.footer("samples", first.name):
            before, now = (notes.get("columns") for notes in (footer[1], reading(first, columns)))
            if before != now:
                raise RecipeError(
                    f"pool.store: {self.recipe.pool.store} holds samples of {_kind(before)}, the recipe has "
                    f"{_kind(now)}; use a new store"
                )

    def complete(self) -> "Session":
        """The same session over the shards that have every column `keep` and `export` read. Fewer shards
        mean other Stats, hence other keys, hence the loop. Raises RecipeError where none is left."""
        stored = self.stored()
        owners = {o for column in self.columns_read() if (o := owner(column)) is not None}
        done = self._having(stored, owners)
        if len(done) == len(self.shards):
            return self
        # What rests on a Stat lies under the key of the shards that could be read: find those first,
        # by the columns that rest on none.
        plain = keys(self.recipe, (), self.contents)
        readable = self._having(stored, {n for n in closure(self.recipe, owners) if plain[n] == self.keys[n]})
        if len(readable) < len(self.shards):
            done = readable
        if not done:
            raise RecipeError(
                "nothing to decide on: no shard has every column yet; run `winnow compute` first"
            )
        return replace(self, shards=done).complete()

    def require(self, names: Iterable[str]) -> None:
        """Raises RecipeError unless these operators are computed, on every shard."""
        stored = self.stored()
        for name in names:
            if isinstance(self.recipe.operator(name), Stat):
                there = stat_path(name, self.keys[name]) in stored.stats
            else:
                there = len(self._having(stored, [name])) == len(self.shards)
            if not there:
                raise RecipeError(f"compute.{name} is not computed yet; run `winnow compute` first")

    def _having(self, stored: Stored, names: Collection[str]) -> tuple[Shard, ...]:
        """The shards whose samples and columns of these operators are stored."""
        parts = [stored.parts[f] for f in ("samples", *map(self.folder, names))]
        return tuple(s for s in self.shards if all(s.name in part for part in parts))

    def columns_read(self) -> list[str]:
        """The columns that rules and exports read."""
        export = self.recipe.export
        return [
            *(rule.column for rule in self.recipe.keep.values()),
            *([export.index.embedding] if export.index else []),
            *([export.repeats] if export.repeats else []),
        ]


def _metadata_shards(recipe: Recipe, folder: str) -> list[Shard]:
    """The tables of a DataComp folder. Raises RecipeError where they cannot be what the recipe wants."""
    metadata = Metadata(folder)
    try:
        files = metadata.files()
    except Exception as error:
        if not (isinstance(error, ImportError) or from_storage(error)):
            raise
        raise RecipeError(f"pool.datacomp: {worded(error)}") from None
    shards = [Shard(name, metadata.path(name), size) for name, (size, _) in files.items()]
    _check_kind(recipe, shards[0], "pool.datacomp")
    index = recipe.export.index
    read = {i for entry in recipe.compute.values() for i in entry.operator.inputs()}
    read |= {rule.column for rule in recipe.keep.values()} | ({index.embedding} if index else set())
    lacks = sorted(read & EMBEDDINGS.keys()) if files[shards[0].name][1] is None else []
    if lacks:
        raise RecipeError(f"pool.datacomp: {metadata.base} holds no npz files, and {lacks[0]} lies in them")
    return shards


def _check_kind(recipe: Recipe, first: Shard, key: str = "pool.shards") -> None:
    """What needs images needs tars, what names columns needs tables. Raises RecipeError."""
    tables = f"{key} are tables without images (the first: {first.path})"
    if not first.table and recipe.pool.columns:
        raise RecipeError(f"pool.columns is for tables, and pool.shards are tars (the first: {first.path})")
    if first.table and recipe.export.shards:
        raise RecipeError(f"export.shards copies images out of tars, and {tables}; see export.urls")
    for name in recipe.compute if first.table else ():
        if isinstance(recipe.operator(name), ImageScore):
            raise RecipeError(f"compute.{name} reads images, and {tables}")


def _check_first(shards: Sequence[Shard], columns: Mapping[str, str | int]) -> None:
    """A table must have its columns. Raises RecipeError; storage that is down is told by the pass itself."""
    try:
        for shard in (shard for shard in shards if shard.table):
            check_table(shard, columns)
    except ShardError as error:
        raise RecipeError(f"pool.shards: {error}") from None
    except (OSError, Break):
        return


def _kind(columns: Mapping[str, str | int] | None) -> str:
    return "tars" if columns is None else f"tables with pool.columns {dict(columns)}"
