"""A file that people look at, a page or a table, at the path that they name.

    check_file("cut.html", "--out", [session], (".html",))    # before any work
    with publishing("cut.html") as path:
        write(path)                                           # a local path; published when the block ends

Such a file has no note beside it. It holds MARK near its beginning or its end, by which the next run knows
that it may be replaced. Any other file that lies there is left alone, and is an error.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from pipeline.errors import RecipeError, brief
from pipeline.export.places.file import check_is_file, foreign
from pipeline.plan.outputs import check_output_file
from pipeline.plan.session import Session
from pipeline.storage.faults import naming
from pipeline.storage.folder import Folder

MARK = "winnow:view"  # HTML: <meta name="generator" content="winnow:view">; parquet: a key of the schema
HEAD, TAIL = 4096, 1 << 20  # bytes in which it is looked for


def check_file(path: str, key: str, sessions: Sequence[Session], suffixes: Sequence[str]) -> None:
    """Raises RecipeError if a path does not end in one of `suffixes`, is read or written by a session's
    recipe, or holds something that is not a view of Winnow's. `key`: the flag that names it."""
    if not path.lower().endswith(tuple(suffixes)):
        raise RecipeError(f"{key} must end in {' or '.join(suffixes)}, got {brief(path)}")
    for session in sessions:
        check_output_file(key, path, session.recipe, session.kind, session.shards)
    check_is_file(path, key)
    with naming(key, path):
        target = Folder(path)
        if target.exists("") and not _is_view(target):
            raise foreign(target, key)


@contextmanager
def publishing(path: str, key: str) -> Iterator[str]:
    """A local path to write to. The file there is published under `path` if the block ends without an error.
    `key`: the flag that names it, for errors of storage."""
    with naming(key, path), Folder(path).publishing("") as local:
        yield local


def _is_view(target: Folder) -> bool:
    """Whether the file at a path holds MARK."""
    size = int(target.fs.size(target.path("")) or 0)
    parts = (target.fs.cat_file(target.path(""), start=start, end=end) for start, end in _ends(size))
    return any(MARK.encode() in part for part in parts)


def _ends(size: int) -> list[tuple[int, int]]:
    """The first and the last bytes of a file of this size."""
    return [(0, min(HEAD, size)), (max(0, size - TAIL), size)] if size else []
