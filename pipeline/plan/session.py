"""A recipe bound to its pool and its store: the shards, the keys of results, and the folders of the store."""

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import orjson

from pipeline.operator import Stat
from pipeline.plan.keys import identities, identity, input_keys, keys
from pipeline.plan.open_pool import list_pool, open_kind
from pipeline.plan.store_pool import check_store
from pipeline.pool.columns import Columns
from pipeline.pool.kinds.kind import PoolKind
from pipeline.pool.shards import Area, Shard
from pipeline.recipe.sections import Recipe
from pipeline.schema import owner
from pipeline.storage import layout
from pipeline.storage.digests import field_digest
from pipeline.storage.faults import naming
from pipeline.storage.store import Store

DECISIONS = 4  # version of the files in a decision's folder; raise it if their format changes

UNCHANGED = ("store", "contents")  # properties of a session that do not depend on its shards


@dataclass(frozen=True)
class Session:
    """A recipe and the shards of its pool. Every command works on one.

    shards       with what the store held of them when the session was opened or refreshed
    root         the folder below which shards are named
    passed_over  path -> why it is not a shard
    searched     the places where the pool was looked for
    limited      whether these are the first shards of a pool that has more
    """

    recipe: Recipe
    shards: tuple[Shard, ...]
    root: str = ""
    passed_over: Mapping[str, str] = field(default_factory=dict)
    searched: tuple[Area, ...] = ()
    limited: bool = False

    @classmethod
    def open(cls, recipe: Recipe, limit: int | None = None) -> "Session":
        """List the pool's shards (the first `limit` of them), and look up which of them the store knows.
        Raises RecipeError."""
        return cls.listed(recipe, limit).looked_up()

    @classmethod
    def listed(cls, recipe: Recipe, limit: int | None = None) -> "Session":
        """As `open`, but the store is not asked yet. Raises RecipeError."""
        listing = list_pool(recipe)
        shards, limited = listing.shards[:limit], limit is not None and limit < len(listing.shards)
        return cls(recipe, shards, listing.root, listing.passed_over, listing.searched, limited)

    def looked_up(self) -> "Session":
        """The same session with what the store knows of the shards. Raises RecipeError if the store belongs
        to another pool, and StorageError."""
        with naming("pool.store", self.recipe.pool.store):
            check_store(self.store, self.root, self.recipe.pool, self.kind)
        return self.refreshed()

    def over(self, shards: Sequence[Shard]) -> "Session":
        """The same session over other shards. What does not depend on them is not computed again."""
        session = replace(self, shards=tuple(shards))
        session.__dict__.update({n: value for n, value in self.__dict__.items() if n in UNCHANGED})
        return session

    def without(self, names: Collection[str]) -> "Session":
        """The same session over fewer shards."""
        return self.over([s for s in self.shards if s.name not in names]) if names else self

    def updated(self, shards: Iterable[Shard]) -> "Session":
        """The same session with these shards in place of those of the same names."""
        by_name = {shard.name: shard for shard in shards}
        return self.over([by_name.get(shard.name, shard) for shard in self.shards])

    def unread(self, names: Collection[str]) -> "Session":
        """The same session, in which these shards count as not read."""
        return self.over([s.known_as("", 0) if s.name in names else s for s in self.shards])

    def refreshed(self) -> "Session":
        """The same session with what the store holds of the shards now. Raises RecipeError."""
        return self.over(self.kind.samples(self.store).known(self.shards))

    def relisted(self) -> "Session":
        """The same session with the states that the files of its shards have now. A shard that is no longer
        listed keeps its state. Raises RecipeError."""
        now = {shard.name: shard for shard in list_pool(self.recipe).shards}
        seen = [now.get(shard.name, shard) for shard in self.shards]
        changed = [replace(s, state=n.state, beside=n.beside) for s, n in zip(self.shards, seen, strict=True)]
        return self.over(changed).refreshed()

    @cached_property
    def store(self) -> Store:
        """The recipe's store."""
        return Store(self.recipe.pool.folder)

    @cached_property
    def kind(self) -> PoolKind:
        """The kind of the pool."""
        return open_kind(self.recipe, self.shards)

    @cached_property
    def columns(self) -> Columns:
        """The columns of the pool's shards."""
        return Columns(self.store, self.keys, self.kind.samples(self.store))

    @property
    def sample_folders(self) -> tuple[str, ...]:
        """The folders of the store that hold samples; none if the pool itself is the samples table."""
        return self.columns.samples.folders

    @property
    def part_folders(self) -> list[str]:
        """The folders of the store that hold a part for each shard."""
        scores = [n for n in self.recipe.compute if not isinstance(self.recipe.operator(n), Stat)]
        return [*self.sample_folders, *map(self.folder, scores)]

    @cached_property
    def contents(self) -> dict[str, dict[str, Any]]:
        """Operator -> field -> digest of the file that the field names; a digest per name if it names
        several."""
        return {name: self.digests_of(name) for name in self.recipe.compute}

    def digests_of(self, name: str) -> dict[str, Any]:
        """Field -> digest of the file that it names now, of one operator. Raises StorageError."""
        digests = {}
        for key, paths in self.recipe.operator(name).fields_of("file"):
            address = paths if isinstance(paths, str) else ", ".join(paths.values())
            with naming(f"compute.{name}.{key}", address):
                digests[key] = field_digest(paths, self.store.root)
        return {key: digest for key, digest in digests.items() if digest is not None}

    @cached_property
    def keys(self) -> dict[str, str]:
        """Operator name -> cache key."""
        return keys(self.recipe, self.shards, self.contents)

    def folder(self, name: str) -> str:
        """The folder of the store that holds an operator's parts."""
        return layout.columns_folder(name, self.keys[name])

    @cached_property
    def decisions(self) -> str:
        """decisions/<recipe>-<key>. The key covers the rules, the keys of the operators that rules and
        exports read, and the names and contents of the shards."""
        owners = sorted({o for c in self.columns_read() if (o := owner(c)) is not None})
        covered = [
            DECISIONS,
            [(name, rule.identity) for name, rule in self.recipe.keep.items()],
            {owner: self.keys[owner] for owner in owners},
            identities(self.shards),
        ]
        key = hashlib.blake2b(orjson.dumps(covered), digest_size=8).hexdigest()
        return layout.decision_folder(self.recipe.name, key)

    def describe(self, name: str) -> dict[str, Any]:
        """The content of `meta.json` beside an operator's parts: in clear, what its key stands for."""
        entry = self.recipe.compute[name]
        inputs = input_keys(entry, self.keys, self.recipe.limits)
        return {"name": name, **identity(entry.use, entry.operator, inputs, self.contents.get(name, {}))}

    def columns_read(self) -> list[str]:
        """The columns that rules and exports read."""
        rules = [rule.column for rule in self.recipe.keep.values()]
        return rules + [column for column, _ in self.recipe.export.columns().values()]
