"""The size of the upload of `ray job submit --working-dir .`, before it fails.

Source: Ray 2.60, `_private/runtime_env/packaging.py` (which files it leaves out; it stores them
uncompressed) and `dashboard/http_server_head.py` (the largest body that a job's head accepts). A test
compares the constants here with the installed Ray. Ray's reader of .gitignore patterns is loaded from its
file alone, because `import ray` takes a second.
"""

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

LIMIT = 100 << 20  # bytes: ray_constants.DASHBOARD_CLIENT_MAX_SIZE; `ray.init` would take 512 MiB
LEFT_OUT = (".git", ".venv", "venv", "__pycache__")  # RAY_RUNTIME_ENV_DEFAULT_EXCLUDES
IGNORE_FILES = (".gitignore", ".rayignore")
SHOWN = 3  # entries that a warning names
Ignores = Callable[[str], bool]


def check_upload(folder: str, limit: int = LIMIT) -> list[str]:
    """A warning that names the largest entries, if the folder is too large to be a job's working
    directory."""
    sizes = upload_sizes(folder)
    if (total := sum(sizes.values())) < limit:
        return []
    largest = sorted(sizes, key=lambda name: -sizes[name])[:SHOWN]
    named = ", ".join(f"{name} ({_mib(sizes[name])})" for name in largest)
    return [
        f"the working directory {os.path.abspath(folder)} has {_mib(total)}, and `ray job submit` takes less "
        f"than {_mib(limit)}: list in .rayignore what the job does not need; the largest entries: {named}"
    ]


def upload_sizes(folder: str) -> dict[str, int]:
    """Bytes that would be uploaded, by entry of the folder."""
    patterns = _patterns()
    default = os.environ.get("RAY_OVERRIDE_RUNTIME_ENV_DEFAULT_EXCLUDES", ",".join(LEFT_OUT))
    ignores = [_ignores(patterns, folder, [line.strip() for line in default.split(",") if line.strip()])]
    ignores += _ignore_files(patterns, folder)
    entries = {entry.name: entry for entry in os.scandir(folder)}
    return {name: sum(_sizes(patterns, entry, ignores)) for name, entry in sorted(entries.items())}


def _sizes(patterns: Any, entry: os.DirEntry[str], ignores: list[Ignores]) -> Iterator[int]:
    """Sizes of the files at or below an entry, without those that an ignore file above them names."""
    if any(ignored(entry.path) for ignored in ignores):
        return
    if entry.is_file():
        yield entry.stat().st_size
    elif entry.is_dir():
        inside = [*ignores, *_ignore_files(patterns, entry.path)]
        for below in os.scandir(entry.path):
            yield from _sizes(patterns, below, inside)


def _ignore_files(patterns: Any, folder: str) -> list[Ignores]:
    """One function per ignore file in a folder."""
    names = IGNORE_FILES if os.environ.get("RAY_RUNTIME_ENV_IGNORE_GITIGNORE") != "1" else IGNORE_FILES[1:]
    paths = [path for name in names if (path := Path(folder, name)).is_file()]
    return [_ignores(patterns, folder, path.read_text().splitlines()) for path in paths]


def _ignores(patterns: Any, folder: str, lines: list[str]) -> Ignores:
    """A function: whether the lines of an ignore file in `folder` name a path below it."""
    spec = patterns.PathSpec.from_lines("gitwildmatch", lines)
    return lambda path: bool(spec.match_file(os.path.relpath(path, folder)))


def _patterns() -> ModuleType:
    """The module `pathspec` that is part of Ray, without Ray."""
    if (name := "_ray_pathspec") not in sys.modules:
        ray = importlib.util.find_spec("ray")  # finds the package without importing it
        assert ray is not None
        assert ray.origin is not None
        path = Path(ray.origin).parent / "_private" / "thirdparty" / "pathspec" / "__init__.py"
        spec = importlib.util.spec_from_file_location(
            name, path, submodule_search_locations=[str(path.parent)]
        )
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


def _mib(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB"
