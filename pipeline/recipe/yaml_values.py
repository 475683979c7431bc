"""YAML as plain values, from a text that nobody vouches for.

    values = yaml_values("pool: {shards: a.tar, store: s}")

Four things differ from `yaml.safe_load`. A key that is given twice is an error. Depth and size are bounded,
aliases written out. A date is the text that it is: no key of a recipe takes dates. Tags are only those of
JSON's types: a text that is not of its type is a RecipeError that names its line.
"""

import re
from collections.abc import Sequence
from typing import Any

import yaml
from yaml.constructor import SafeConstructor
from yaml.resolver import Resolver

from pipeline.errors import RecipeError, brief, shortened

MOST_DEPTH = 32  # lists and mappings inside each other; recipes need about five
MOST_EXPANDED = 4 << 20  # characters and values of the text with its aliases written out
_PREFIX = "tag:yaml.org,2002:"
_TAGS = ("str", "int", "float", "bool", "null", "seq", "map")
_MERGE = _PREFIX + "merge"  # the key `<<`
_EVENTS = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml is ten times as fast
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")  # how YAML writes the bytes of a path that are not UTF-8
MOST_SLOW = 64 << 10  # characters of a text that PyYAML's own parser reads


class _Types(Resolver):
    """The types of YAML 1.1 without dates."""


_Types.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in known if tag != _PREFIX + "timestamp"]
    for first, known in Resolver.yaml_implicit_resolvers.items()
}


def yaml_values(text: str) -> Any:
    """The values of a YAML document; None if it is empty. Raises yaml.YAMLError for a text that is not YAML,
    RecipeError for one that is not allowed."""
    root = _Composer().document(text)
    return None if root is None else _Constructor().construct_document(root)


def worded_yaml(error: yaml.YAMLError) -> str:
    """What is wrong with a text that is not YAML, and in which line, on one line."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        why = " ".join(filter(None, (error.context, error.problem)))
        if "cannot start any token" in why:  # of either parser; what a tab at the start of a line leads to
            why = "a character that nothing begins with, such as a tab (indent with spaces), @ or ` (use quotes)"
        return shortened(f"line {error.problem_mark.line + 1}: {why}")
    if isinstance(error, yaml.reader.ReaderError):
        return f"character {error.position + 1} is not allowed: {error.reason}"
    return shortened(" ".join(str(error).split()))


class _Composer(_Types):
    """Makes a tree of nodes from the events of a text. The tree shares what aliases share.

    sizes      id of a node -> characters and values in it, aliases written out
    expanded   those of the text so far
    """

    def __init__(self) -> None:
        super().__init__()
        self.anchors: dict[str, yaml.Node] = {}
        self.sizes: dict[int, int] = {}
        self.expanded = 0
        self.open: list[tuple[yaml.CollectionNode, list[yaml.Node], int]] = []

    def document(self, text: str) -> yaml.Node | None:
        """The root of the only document. Raises as `yaml_values`."""
        root = None
        slow = _SURROGATE.search(text) and len(text) <= MOST_SLOW  # libyaml refuses such escapes
        for event in yaml.parse(text, Loader=yaml.SafeLoader if slow else _EVENTS):
            if isinstance(event, yaml.DocumentStartEvent) and root is not None:
                raise RecipeError(f"line {_line(event)}: a second document begins; a recipe is one")
            if (node := self._node(event)) is not None and not self.open:
                root = node
        return root

    def _node(self, event: Any) -> yaml.Node | None:
        """The node that an event completes, which joins the list or mapping that is open."""
        node: yaml.Node
        if isinstance(event, yaml.CollectionStartEvent):
            self._begin(event)
            return None
        if isinstance(event, yaml.CollectionEndEvent):
            node = self._end()
        elif isinstance(event, yaml.AliasEvent):
            node = self._aliased(event)
        elif isinstance(event, yaml.ScalarEvent):
            tag = self._tag(yaml.ScalarNode, event, event.value, event.implicit)
            marks: Any = (event.start_mark, event.end_mark)
            node = yaml.ScalarNode(tag, event.value, *marks)
            self._grow(event, 1 + len(event.value))
            self._remember(event, node, 1 + len(event.value))
        else:
            return None
        if self.open:
            self.open[-1][1].append(node)
        return node

    def _begin(self, event: Any) -> None:
        """Open a list or mapping."""
        if len(self.open) >= MOST_DEPTH:
            raise RecipeError(
                f"line {_line(event)}: more than {MOST_DEPTH} lists or mappings inside each other"
            )
        kind = yaml.MappingNode if isinstance(event, yaml.MappingStartEvent) else yaml.SequenceNode
        node = kind(self._tag(kind, event, None, event.implicit), [], event.start_mark, event.end_mark)
        if event.anchor is not None:
            self.anchors[event.anchor] = node
        self.open.append((node, [], self.expanded))
        self._grow(event, 1)

    def _end(self) -> yaml.Node:
        """Close the innermost list or mapping."""
        node, children, before = self.open.pop()
        if isinstance(node, yaml.MappingNode):
            node.value = list(zip(children[::2], children[1::2], strict=True))
            _check_keys(children[::2])
        else:
            node.value = children
        self.sizes[id(node)] = self.expanded - before
        return node

    def _aliased(self, event: Any) -> yaml.Node:
        """The node that an alias stands for."""
        node = self.anchors.get(event.anchor)
        if node is None or id(node) not in self.sizes:
            why = "is not defined" if node is None else "contains itself"
            raise RecipeError(f"line {_line(event)}: the alias *{event.anchor} {why}")
        self._grow(event, self.sizes[id(node)])
        return node

    def _remember(self, event: Any, node: yaml.Node, size: int) -> None:
        """Note a scalar that has an anchor."""
        if event.anchor is not None:
            self.anchors[event.anchor] = node
            self.sizes[id(node)] = size

    def _grow(self, event: Any, size: int) -> None:
        """Count what a node adds."""
        self.expanded += size
        if self.expanded > MOST_EXPANDED:
            raise RecipeError(
                f"line {_line(event)}: with its aliases written out, the text is larger than "
                f"{MOST_EXPANDED >> 20} MiB"
            )

    def _tag(self, kind: type[yaml.Node], event: Any, value: str | None, implicit: Any) -> str:
        """The tag of a node. Raises RecipeError for one that is given and not allowed."""
        tag: str = event.tag if event.tag not in (None, "!") else self.resolve(kind, value, implicit)  # type: ignore[no-untyped-call]
        if tag.removeprefix(_PREFIX) in _TAGS or tag == _MERGE:
            return tag
        if event.tag in (None, "!"):
            return _PREFIX + "str"  # `=`, which YAML 1.1 gives a type of its own
        allowed = ", ".join(f"!!{name}" for name in _TAGS)
        shown = shortened(tag.replace(_PREFIX, "!!"))
        raise RecipeError(f"line {_line(event)}: the tag {shown} is not allowed; allowed are {allowed}")


class _Constructor(SafeConstructor):
    """Makes values of nodes; errors name the line."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """See SafeConstructor. A text that is not of the type of its tag is a RecipeError."""
        try:
            return super().construct_object(node, deep=deep)
        except (ValueError, KeyError, IndexError, AttributeError, TypeError, OverflowError):
            kind = node.tag.removeprefix(_PREFIX)
            raise RecipeError(f"line {_line(node)}: {brief(node.value)} is not of type {kind}") from None


def _check_keys(keys: Sequence[yaml.Node]) -> None:
    """Raises RecipeError for a key that is given twice. YAML itself keeps the last one silently."""
    lines: dict[str, int] = {}
    for key in keys:
        if not isinstance(key, yaml.ScalarNode) or key.tag == _MERGE:  # `<<` may come twice
            continue
        if key.value in lines:
            raise RecipeError(
                f"{shortened(key.value)} is given twice, in lines {lines[key.value]} and {_line(key)}"
            )
        lines[key.value] = _line(key)


def _line(at: Any) -> int:
    """The line where a node or event begins, from 1."""
    return int(at.start_mark.line) + 1
