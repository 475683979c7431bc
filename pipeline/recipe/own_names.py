"""The names of files that Winnow keeps among its outputs, which no output may have."""

import re

# Of exports (export/places/), of locks (storage/locks/), and of what is not published yet
_OWN = re.compile(
    r"_winnow\.json|.*\.winnow\.json|\.winnow-next|\.winnow-tmp\..*|\.(.*\.)?winnow(\.lock|-states\.json)",
    re.DOTALL,
)


def own_name(path: str) -> str | None:
    """The part of a path that is the name of a file or folder of Winnow's own; None if there is none."""
    return next((part for part in path.split("/") if _OWN.fullmatch(part)), None)
