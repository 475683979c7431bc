"""The files that the patterns of a pool stand for, and everything else that they came across.

found = look_up(["/data/pool", "s3://mine/{00..99}.tar"], Suffixes((".tar",), (".parquet",), ".json"))
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pipeline.pool.listing import reasons
from pipeline.pool.listing.exact import local_file, remote_files
from pipeline.pool.listing.patterns import Place, common_folder, parent, places, root_of
from pipeline.pool.listing.search import ANY_DEPTH, search
from pipeline.pool.listing.tree import FILE, File, ListedTree, LocalTree, Tree
from pipeline.storage.identity import MISSING


@dataclass(frozen=True)
class Lookup:
    """Files by full path, the folder below which they are named, what was passed over, with reasons, and the
    folders that were searched, with the parts of the glob below each."""

    files: Mapping[str, File]
    root: str
    passed_over: Mapping[str, str]
    searched: tuple[tuple[str, tuple[str, ...]], ...] = ()


class Suffixes(NamedTuple):
    """What the names of shards end in. Files of the second kind count if a place holds none of the first.
    `beside`: what takes the place of a suffix of the first kind in the name of the file that describes a
    shard."""

    first: tuple[str, ...]
    second: tuple[str, ...]
    beside: str

    @property
    def all(self) -> tuple[str, ...]:
        """Both kinds."""
        return (*self.first, *self.second)

    def describing(self, path: str) -> str | None:
        """The path of the file that describes the shard at a path, if one may."""
        suffix = next((suffix for suffix in self.first if path.endswith(suffix)), None)
        return path.removesuffix(suffix) + self.beside if suffix else None


def look_up(patterns: Sequence[str], suffixes: Suffixes) -> Lookup:
    """See Lookup. Raises ValueError if a pattern stands for nothing, and what storage raises."""
    named = [(pattern, list(places(pattern))) for pattern in patterns]
    asked = remote_files(
        [p for _, ps in named for p in ps if not p.local and _is_file(p, suffixes)], suffixes.describing
    )
    files: dict[str, File] = {}
    passed_over: dict[str, str] = {}
    searched: list[tuple[str, tuple[str, ...]]] = []
    roots = []
    for pattern, of_pattern in named:
        found = [_at(place, suffixes, asked) for place in of_pattern]
        for place, at in zip(of_pattern, found, strict=True):
            if not at.files:
                raise ValueError(_nothing(pattern, place, at, suffixes))
            files |= at.files
            passed_over |= at.passed_over
            searched += at.searched
        if not found:
            raise ValueError(f"pool.shards: no *{suffixes.first[0]} matches {pattern!r}")
        roots.append(root_of(pattern, [at.root for at in found]))
    passed_over = {path: reason for path, reason in sorted(passed_over.items()) if path not in files}
    return Lookup(files, common_folder(roots), passed_over, tuple(searched))


def _is_file(place: Place, suffixes: Suffixes) -> bool:
    """Whether a place on other storage is a file by its name."""
    return not place.parts and (place.web or place.path.endswith(suffixes.all))


def _at(place: Place, suffixes: Suffixes, asked: Mapping[str, File | None]) -> Lookup:
    """The files of one place. `asked`: what storage said of paths that are files by their names."""
    full = place.full(place.path)
    if not place.parts:
        beside = suffixes.describing(place.path)
        file = local_file(place.path, beside) if place.local else asked.get(full)
        if place.web and file is not None and file.state == MISSING and _stands_for_more(full):
            raise ValueError(f"pool.shards: {full} {reasons.NO_LISTING}")
        if file is not None and (file.size is not None or place.web or place.path.endswith(suffixes.all)):
            return _alone(full, file)
    return _chosen(place, LocalTree(), suffixes) if place.local else _elsewhere(place, suffixes)


def _stands_for_more(address: str) -> bool:
    """Whether a web address looks like a glob or a folder."""
    name = address.partition("?")[0].partition("://")[2].partition("/")[2].rpartition("/")[2]
    return "*" in address or "." not in name


def _alone(full: str, file: File) -> Lookup:
    """A file that is named as it is. Raises ValueError for a compressed tar."""
    if full.endswith(reasons.COMPRESSED_TARS):
        raise ValueError(f"pool.shards: {full} is {reasons.COMPRESSED}")
    return Lookup({full: file}, parent(full), {})


def _elsewhere(place: Place, suffixes: Suffixes) -> Lookup:
    """The files of a place on other storage, by one listing."""
    tree = _listed(place)
    below, file = _literal(place, tree)
    if file is not None:
        return _alone(place.full(below.path), file)
    if len(place.parts) == 1 and not below.parts:  # a folder that is called like a pattern
        tree = _listed(below)
    return _chosen(below, tree, suffixes)


def _listed(place: Place) -> ListedTree:
    """Everything at a place of other storage, or a little more."""
    place.fs.invalidate_cache()  # the files may have changed since this process last looked
    try:
        if len(place.parts) == 1 and place.parts != (ANY_DEPTH,):
            infos = place.fs.ls(place.path, detail=True)
        else:
            infos = place.fs.find(place.path, detail=True).values()
    except FileNotFoundError:
        infos = ()
    except ValueError as error:  # s3fs's, without a bucket
        raise ValueError(f"pool.shards: {place.text!r}: {error}; name a bucket and a folder in it") from None
    return ListedTree(place.fs, place.path, infos)


def _literal(place: Place, tree: ListedTree) -> tuple[Place, File | None]:
    """The place without the first parts of its glob that folders are called like; and its file, if it is
    one."""
    node = tree.itself
    while place.parts and (below := tree.entry(place.path, place.parts[0])) is not None:
        node = below
        place = place._replace(path=node.path, parts=place.parts[1:])
    is_file = node is not None and node.kind == FILE and not place.parts
    return place, tree.file(node) if node is not None and is_file else None


def _chosen(place: Place, tree: Tree, suffixes: Suffixes) -> Lookup:
    """The files of a folder or glob that are shards by their names; all others are passed over, but for those
    that describe a shard."""
    full, parts = place.full(place.path), place.parts or (ANY_DEPTH,)
    found = search(tree, place.path, parts, suffixes.beside)
    named = [path for path in found.files if not reasons.is_note(path)]
    first = {path for path in named if path.endswith(suffixes.first)}
    chosen = first or {path for path in named if path.endswith(suffixes.second)}
    describing = {suffixes.describing(path) for path in chosen}
    others = {path: _other(path, suffixes) for path in found.files.keys() - chosen - describing}
    passed_over = {place.full(path): why for path, why in (found.passed_over | others).items()}
    files = {place.full(path): tree.file(found.files[path]) for path in chosen}
    for path in chosen if found.described else ():
        if (node := found.described.get(suffixes.describing(path) or "")) is not None:
            files[place.full(path)] = files[place.full(path)]._replace(beside=tree.file(node).state)
    return Lookup(files, full, passed_over, ((full, parts),))


def _other(path: str, suffixes: Suffixes) -> str:
    """Why a file is not a shard."""
    if reasons.is_note(path):
        return reasons.NOTE
    if path.endswith(reasons.COMPRESSED_TARS):
        return reasons.COMPRESSED
    return reasons.BESIDE if path.endswith(suffixes.second) else reasons.NO_SHARD


def _nothing(pattern: str, place: Place, at: Lookup, suffixes: Suffixes) -> str:
    """The message for a place without a shard. It names what was passed over there."""
    if place.local and place.parts and not os.path.exists(place.path):
        start = "" if os.path.isabs(pattern) else "; relative paths start at the current folder"
        return f"pool.shards: there is no folder {place.path!r} (from {pattern!r}){start}"
    hint = ""
    if at.passed_over:
        path, reason = min(at.passed_over.items(), key=lambda item: (not reasons.is_loss(item[1]), item[0]))
        more = f", and {len(at.passed_over) - 1:,} more" if len(at.passed_over) > 1 else ""
        hint = f"; passed over: {path} ({reason}){more}"
    if place.local and not place.parts and os.path.isdir(place.path):
        hint += "; a folder of pictures takes kind: files"
    kinds = ", ".join(suffixes.second)
    return (
        f"pool.shards: no *{suffixes.first[0]} matches {place.text!r} (from {pattern!r}), nor any table "
        f"({kinds}){hint}"
    )
