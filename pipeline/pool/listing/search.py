"""What a folder or a glob stands for: every file below it, and what was passed over on the way.

    found = search(LocalTree(), "/data/pool", ["**"])           # a folder, to any depth
    found = search(LocalTree(), "/data/pool", ["*", "*.tar"])   # a glob: /data/pool/*/*.tar

Links are followed. A link back to a folder above it is passed over, so a loop ends. Hidden files and folders
count only if the pattern names them. Folders that Winnow wrote are passed over unless the search begins
there.
"""

import re
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from typing import NamedTuple

from fsspec.utils import glob_translate

from pipeline.pool.listing import reasons
from pipeline.pool.listing.tree import FILE, FOLDER, Node, Tree, is_written

ANY_DEPTH = "**"  # the part of a glob that stands for any number of folders
Parts = tuple[str, ...]  # what is left of a glob below a folder


@dataclass
class Found:
    """The files that were found, and the paths that were passed over, with reasons; by path. `described`: the
    files in the same folders whose names end as `search` was told."""

    files: dict[str, Node] = field(default_factory=dict)
    folders: dict[str, Node] = field(default_factory=dict)
    passed_over: dict[str, str] = field(default_factory=dict)
    described: dict[str, Node] = field(default_factory=dict)


class Above(NamedTuple):
    """The folders on the way down to a folder, which is the first of them."""

    identity: Hashable
    above: "Above | None"

    def has(self, identity: Hashable) -> bool:
        """Whether a folder is among them."""
        at: Above | None = self
        while at is not None:
            if at.identity == identity:
                return True
            at = at.above
        return False


class _Step(NamedTuple):
    """A folder to look into, what is left of the glob there (in one or more ways), and the way to it."""

    folder: str
    globs: frozenset[Parts]
    above: Above | None


def search(tree: Tree, root: str, parts: Sequence[str], describing: str = "\0") -> Found:
    """Everything below a folder that matches a glob, given by its parts. Files and folders that match it as
    a whole are found; a folder is not searched further for it. `describing`: what the names of files end in
    that describe others, whether they match or not."""
    found = Found()
    steps = [_Step(root, frozenset([tuple(parts)]), None)]
    while steps:
        steps += _look_into(tree, steps.pop(), found, describing)
    return found


def _look_into(tree: Tree, step: _Step, found: Found, describing: str) -> list[_Step]:
    """Look into one folder; returns the folders below it that the glob leads to."""
    try:
        identity = tree.identity(step.folder)
        if identity is not None and step.above is not None and step.above.has(identity):
            found.passed_over[step.folder] = reasons.LOOP
            return []
        nodes = {node.name: node for node in tree.nodes(step.folder)}
    except OSError as error:
        found.passed_over[step.folder] = reasons.unreadable(error)
        return []
    if step.above is not None and is_written(nodes, partial(_content, tree, step.folder)):
        found.passed_over[step.folder] = reasons.WRITTEN
        return []
    found.described |= {n.path: n for n in nodes.values() if n.name.endswith(describing) and n.kind == FILE}
    below: dict[str, set[Parts]] = {}
    for parts in _unfolded(step.globs):
        for node in _matching(parts[0], nodes):
            if left := _take(node, parts, found):
                below.setdefault(node.path, set()).add(left)
    above = Above(identity, step.above)
    return [_Step(folder, frozenset(globs), above) for folder, globs in below.items()]


def below(parts: Parts, names: Sequence[str]) -> set[Parts]:
    """What is left of a glob, in one or more ways, in a folder that is given by the names on the way down;
    nothing if the glob does not lead there."""
    globs = {parts}
    for name in names:
        globs = {left for glob in _unfolded(globs) if (left := _past(name, glob))}
    return _unfolded(globs)


def matches(parts: Parts, names: Sequence[str]) -> bool:
    """Whether a glob matches a file, given by the names on the way down to it."""
    *folders, file = names
    return any(len(left) == 1 and _past(file, (*left, "")) for left in below(parts, folders))


def _past(name: str, parts: Parts) -> Parts:
    """What is left of a glob below an entry of that name."""
    if not _matching(parts[0], {name: Node(name, name, FOLDER, None)}):
        return ()
    return parts if parts[0] == ANY_DEPTH else parts[1:]


def _unfolded(globs: Iterable[Parts]) -> set[Parts]:
    """The globs, and for each that begins with `**` the one in which it stands for no folder."""
    ways = set[Parts]()
    for parts in globs:
        ways.add(parts)
        while parts[0] == ANY_DEPTH:
            parts = parts[1:] or ("*",)
            ways.add(parts)
    return ways


def _take(node: Node, parts: Parts, found: Found) -> Parts:
    """Enter an entry that the first part of a glob matches; returns what is left of the glob below it."""
    last = len(parts) == 1 and parts[0] != ANY_DEPTH
    if node.kind == FOLDER:
        if last:
            found.folders[node.path] = node
        return parts if parts[0] == ANY_DEPTH else parts[1:]
    if node.kind == FILE:
        if last:
            found.files[node.path] = node
    elif last or node.kind == reasons.NOWHERE or node.kind.startswith(reasons.UNREADABLE):
        found.passed_over[node.path] = node.kind  # a broken link may have led to a folder
    return ()


def _matching(part: str, nodes: dict[str, Node]) -> Iterable[Node]:
    """The entries that a part of a glob matches. One that is called like the part is meant alone."""
    if part == ANY_DEPTH:
        return [node for name, node in nodes.items() if not name.startswith(".")]
    if part in nodes:
        return [nodes[part]]
    match = _pattern(part).match
    hidden = part.startswith(".")
    return [node for name, node in nodes.items() if match(name) and (hidden or not name.startswith("."))]


def _content(tree: Tree, folder: str, name: str) -> bytes:
    """The bytes of a small file of a folder."""
    return tree.content(f"{folder}/{name}")


@cache
def _pattern(part: str) -> "re.Pattern[str]":
    """A part of a glob as a regular expression."""
    return re.compile(glob_translate(part))
