"""A recipe bound to its pool and its store: shards, keys, what is stored, which shards are complete."""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cached_property

import orjson

from pipeline.errors import RecipeError
from pipeline.operator import Stat, identity, owner
from pipeline.plan import Stored, closure, folder, input_keys, keys, stat_path
from pipeline.recipe import Recipe
from pipeline.shards import Shard, list_shards
from pipeline.store import Files, Store


@dataclass(frozen=True)
class Session:
    """What every command works on."""

    recipe: Recipe
    shards: tuple[Shard, ...]

    @classmethod
    def open(cls, recipe: Recipe, limit: int | None = None) -> "Session":
        """List the pool's shards (the first `limit` of them). Raises RecipeError."""
        try:
            shards = list_shards(recipe.pool.shards)
        except (ValueError, OSError, ImportError) as error:
            text = str(error)
            raise RecipeError(text if text.startswith("pool.shards") else f"pool.shards: {text}") from None
        return cls(recipe, tuple(shards[:limit]))

    def without(self, names: Collection[str]) -> "Session":
        """The same session over fewer shards."""
        return replace(self, shards=tuple(s for s in self.shards if s.name not in names)) if names else self

    @cached_property
    def store(self) -> Store:
        """The recipe's store."""
        return Store(self.recipe.pool.store)

    @cached_property
    def contents(self) -> dict[str, dict[str, str]]:
        """Digests of the files that operators' fields name."""
        return {
            name: {
                field: digest
                for field, path in entry.operator.fields_of("file")
                if (digest := file_digest(path)) is not None
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

    def describe(self, name: str) -> bytes:
        """`meta.json` beside an operator's parts: in clear, what its key stands for."""
        entry = self.recipe.compute[name]
        inputs = input_keys(entry, self.keys)
        found = identity(entry.use, entry.operator, inputs, self.contents.get(name, {}))
        return orjson.dumps({"name": name, **found}, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS)

    def stored(self) -> Stored:
        """What the store holds of this recipe: a part counts if it has as many rows as its samples."""
        names = [shard.name for shard in self.shards]
        samples = self.store.rows("samples", names)
        parts: dict[str, Collection[str]] = {"samples": samples.keys()}
        for name in self.recipe.compute:
            if not isinstance(self.recipe.operator(name), Stat):
                rows = self.store.rows(self.folder(name), names)
                parts[self.folder(name)] = {s for s, count in rows.items() if samples.get(s) == count}
        stats = [stat_path(name, key) for name, key in self.keys.items()]
        return Stored(parts, {path for path in stats if self.store.files.exists(path)})

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

    def _having(self, stored: Stored, names: Collection[str]) -> tuple[Shard, ...]:
        """The shards whose samples and columns of these operators are stored."""
        parts = [stored.parts[f] for f in ("samples", *map(self.folder, names))]
        return tuple(s for s in self.shards if all(s.name in part for part in parts))

    def columns_read(self) -> list[str]:
        """The columns that rules and exports read."""
        index = self.recipe.export.index
        return [
            *(rule.column for rule in self.recipe.keep.values()),
            *([index.embedding] if index else []),
        ]


def file_digest(path: str) -> str | None:
    """blake2b of a file's content, or None where `path` names no file (a `pretrained` tag, say)."""
    files = Files(path)
    if not files.exists("") or files.fs.isdir(files.base):
        return None
    digest = hashlib.blake2b(digest_size=16)
    with files.fs.open(files.base, "rb") as file:
        while chunk := file.read(1 << 22):
            digest.update(chunk)
    return digest.hexdigest()
