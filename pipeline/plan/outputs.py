"""What a recipe writes, compared with what it reads, before any work. Every mistake is a RecipeError.

An output must not be a file that the recipe reads. It must not lie where the next run would read it as part
of the pool. Two outputs must not get into each other's way.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

from pipeline.errors import RecipeError
from pipeline.plan.output_paths import check_output_path, real_path
from pipeline.pool.kinds.kind import PoolKind
from pipeline.pool.listing.search import ANY_DEPTH, Parts, below, matches
from pipeline.pool.shards import Area, Listing, Shard
from pipeline.recipe.sections import Recipe
from pipeline.storage.identity import local_state

STORE = "pool.store"
DEEP = re.compile(
    rf"{STORE}|export\.index\.path|export\.indexes\..*"
)  # their tables lie in folders of their own
OWN = ("samples", "columns", "stats", "decisions", "effects", "packs")  # a store's folders with tables
TABLES, TARS = (".parquet",), (".tar", ".parquet")


class Output(NamedTuple):
    """A path that a recipe writes: the key that names it, as it is written there, and in its real form.
    `files`: the names of the files in it, if it is an export's folder (see Destination); empty for one file,
    and for the store."""

    key: str
    path: str
    real: str
    files: str = ""

    @property
    def is_file(self) -> bool:
        """Whether it is one file and not a folder."""
        return self.key != STORE and not self.files

    @property
    def suffixes(self) -> tuple[str, ...]:
        """What the names of the files end in that are written there, and that could be read as a pool."""
        return TARS if self.key == "export.shards" else TABLES


def check_outputs(recipe: Recipe, kind: PoolKind, listing: Listing) -> None:
    """Raises RecipeError if a path that the recipe writes is one that it reads, or if two are in each other's
    way. Reads nothing but what lies at these paths."""
    check_output_path(recipe.pool.store, STORE, folder=True)
    for key, (path, mark) in recipe.export.destinations().items():
        check_output_path(path, key, folder=bool(mark.files))
    outputs = _written(recipe)
    _check_pairs(outputs)
    _check_files(outputs, recipe, kind, listing.shards)
    for output in outputs:
        _check_searched(output, kind, listing.searched)
        _check_beside(output, kind, listing.shards)


def check_output_file(
    key: str,
    path: str,
    recipe: Recipe,
    kind: PoolKind,
    shards: Sequence[Shard],
    searched: Sequence[Area] = (),
) -> None:
    """The same for one more file that is to be written, which the flag `key` names. `searched`: where the
    pool was looked for."""
    check_output_path(path, key)
    output = Output(key, path, real_path(path))
    for other in _written(recipe):
        if other.key == STORE:
            _check_pairs([output, other])
        _check_own_files(output, other)
    _check_files([output], recipe, kind, shards)
    _check_searched(output, kind, searched)
    _check_beside(output, kind, shards)


def check_flags(paths: Mapping[str, str]) -> None:
    """Raises RecipeError if two flags name one path, or one names a path in that of the other. `paths`: flag
    -> path."""
    _check_pairs([Output(flag, path, real_path(path)) for flag, path in paths.items()])


def check_not_in_store(flag: str, path: str, store: str) -> None:
    """Raises RecipeError if a flag names a path in a store, which may be on storage not known here."""
    try:
        real = real_path(store)
    except (ValueError, ImportError):
        return
    _check_pairs([Output(flag, path, real_path(path)), Output(STORE, store, real)])


def _written(recipe: Recipe) -> list[Output]:
    """The paths that a recipe writes."""
    exports = recipe.export.destinations().items()
    return [
        Output(STORE, recipe.pool.store, real_path(recipe.pool.store)),
        *(Output(key, path, real_path(path), mark.files) for key, (path, mark) in exports),
    ]


# --- outputs among themselves ---------------------------------------------------------------------


def _check_pairs(outputs: Sequence[Output]) -> None:
    """Raises RecipeError if two outputs are one path, or one folder lies in the other. A single file may lie
    in the folder of another export, where that writes no file of its own."""
    for one, other in combinations(outputs, 2):
        if one.real == other.real:
            raise RecipeError(f"{one.key} and {other.key} both write to {one.path}; name two paths")
        for inner, outer in ((one, other), (other, one)):
            if not _inside(inner.real, outer.real):
                continue
            if outer.is_file or not inner.is_file or outer.key == STORE:
                raise RecipeError(
                    f"{inner.key}: {inner.path} lies in {outer.path}, which {outer.key} writes; "
                    "name a path outside of it"
                )
            _check_own_files(inner, outer)


def _check_own_files(inner: Output, outer: Output) -> None:
    """Raises RecipeError if an output is, or lies below, a file that the export `outer` writes into its
    folder."""
    if not _inside(inner.real, outer.real):
        return
    name = inner.real.removeprefix(outer.real).strip("/").partition("/")[0]
    if re.fullmatch(outer.files, name):
        raise RecipeError(
            f"{inner.key}: {inner.path}: {outer.key} writes {name} in {outer.path}; name another path"
        )


def _inside(path: str, folder: str) -> bool:
    """Whether a path lies in a folder, at any depth. Both in their real form."""
    return path.startswith(f"{folder.rstrip('/')}/")


# --- outputs in the pool --------------------------------------------------------------------------


def _check_searched(output: Output, kind: PoolKind, searched: Sequence[Area]) -> None:
    """Raises RecipeError if the pool's patterns would find what is written there."""
    for folder, parts in searched:
        root = real_path(folder)
        if output.key == STORE and any(_inside(f"{root}/", f"{output.real}/{name}") for name in OWN):
            raise RecipeError(
                f"{STORE}: {output.path} lies around {folder}, which {kind.key} searches, and writes to folders "
                "of this name; name another folder"
            )
        if output.real == root:
            names: Sequence[str] = ()
        elif _inside(output.real, root):
            names = output.real.removeprefix(root).strip("/").split("/")
        else:
            continue
        if _is_found(output, names, parts, kind.suffixes):
            raise RecipeError(
                f"{output.key}: {output.path} lies where {kind.key} searches {folder}: the next run would read it "
                "as part of the pool. Name a path outside of that folder, or let "
                f"{kind.key} name the files or folders of the pool alone"
            )


def _check_beside(output: Output, kind: PoolKind, shards: Sequence[Shard]) -> None:
    """Raises RecipeError for a single file in a folder whose files are shards: any file there is a part of
    the state by which the next run sees whether the pool has changed."""
    if not output.is_file:
        return
    parent = output.real.rpartition("/")[0]
    folder = next((f for f in {s.path for s in shards if s.span} if real_path(f) == parent), None)
    if folder is not None:
        raise RecipeError(
            f"{output.key}: {output.path} lies among the files of {folder}, which {kind.key} reads: the next run "
            "would find the pool changed. Name a path outside of that folder"
        )


def _is_found(output: Output, names: Sequence[str], parts: Parts, suffixes: tuple[str, ...]) -> bool:
    """Whether a glob finds what is written at a path, given by its parts below the glob's folder."""
    if output.is_file:
        return bool(names) and names[-1].endswith(suffixes) and matches(parts, names)
    for left in below(parts, names):
        deep = ANY_DEPTH in left or len(left) > 1
        written = [s for s in output.suffixes if s in suffixes and _may_end(left[-1], s)]
        if written and (deep if DEEP.fullmatch(output.key) else len(left) == 1 and left[0] != ANY_DEPTH):
            return True
    return False


def _may_end(part: str, suffix: str) -> bool:
    """Whether the last part of a glob matches a name that ends in a suffix."""
    tail = part[max(map(part.rfind, "*?]")) + 1 :]
    return suffix.endswith(tail) if len(tail) < len(suffix) else tail.endswith(suffix)


# --- outputs that are inputs ----------------------------------------------------------------------


def _check_files(outputs: Sequence[Output], recipe: Recipe, kind: PoolKind, shards: Sequence[Shard]) -> None:
    """Raises RecipeError if an output is a file that the recipe reads, under whatever name."""
    named = {real_path(path): key for key, path in _named(recipe)}
    pool = {path: shard.path for shard in shards for path in kind.files_of(shard)}
    for output in outputs:
        for real in {output.real, os.path.abspath(output.path)}:
            if real in pool:
                _refuse(output, kind.key, pool[real])
            if real in named:
                _refuse(output, named[real], real)
        if (same := _same_file(output.real, shards)) is not None:
            _refuse(output, kind.key, same)


def _refuse(output: Output, key: str, path: str) -> None:
    """Raises RecipeError for an output that is an input."""
    raise RecipeError(f"{output.key}: {output.path} is a file that {key} reads ({path}); name another path")


def _same_file(output: str, shards: Sequence[Shard]) -> str | None:
    """The shard whose file an output is, reached through links or as a hard link. Files have equal states if
    they are one file, so that few are looked at."""
    try:
        state = local_state(os.stat(output))
    except (OSError, ValueError):
        return None
    alike = (shard.path for shard in shards if shard.state.startswith(state))
    return next((path for path in alike if os.path.samefile(path, output)), None)


def _named(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """(key, path) of each file beside the pool that a recipe reads."""
    for name, entry in recipe.compute.items():
        for field, paths in entry.operator.fields_of("file"):
            several = paths.values() if isinstance(paths, Mapping) else paths
            for path in [paths] if isinstance(paths, str) else several:
                yield f"compute.{name}.{field}", str(path)
    for path in recipe.plugins:
        yield "plugins", path
