"""The source files that a plugin imports, besides what is installed: its key covers them, too.

    own_imports(Path("scratch/colour.py"))      # {"palettes": Path("scratch/palettes.py")}

Files are found as Python would find them, and read, not run. Installed are Python's own modules, Winnow's,
and what lies in a folder into which pip has written (it has a `.dist-info`): keys do not cover their
versions.
"""

import ast
import sysconfig
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

WINNOW = ("pipeline", "operators", "jobs")


def own_imports(file: Path) -> dict[str, Path]:
    """The modules that a file imports, and those that these import, with their files, sorted by name. Without
    what is installed, and without what cannot be found or parsed: to run it says why. Imports that are made
    up as the code runs are not seen."""
    found: dict[str, Path] = {}
    waiting = [(file, "")]
    while waiting:
        source, package = waiting.pop()
        for name in _imported(source, package):
            if (
                name not in found
                and (place := _place(name)) is not None
                and place.resolve() != file.resolve()
            ):
                found[name] = place
                waiting.append((place, name if place.stem == "__init__" else name.rpartition(".")[0]))
    return dict(sorted(found.items()))


def _imported(file: Path, package: str) -> Iterator[str]:
    """The full names of the modules that a file may import, with the packages that they are in. `package`:
    the one that the file is in."""
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _with_packages(alias.name)
        elif isinstance(node, ast.ImportFrom):
            packages = package.split(".") if package else []
            if node.level > len(packages):
                continue  # it leads out of the top package, and fails
            above = packages[: len(packages) - node.level + 1] if node.level else []
            for alias in node.names:
                yield from _with_packages(".".join([*above, *filter(None, [node.module]), alias.name]))


def _with_packages(name: str) -> Iterator[str]:
    """`a.b.c` -> `a`, `a.b`, `a.b.c`."""
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        yield ".".join(parts[:end])


def _place(name: str) -> Path | None:
    """The source file of a module that is not installed; None of any other."""
    if name.partition(".")[0] in WINNOW:
        return None
    paths: Sequence[str] | None = None
    spec: ModuleSpec | None = None
    for part in _with_packages(name):
        try:
            spec = PathFinder.find_spec(part, paths)
        except KeyError:  # a folder without an __init__.py, in a package that was not imported yet
            folders = (Path(place, part.rpartition(".")[2]) for place in paths or ())
            spec, paths = None, [str(folder) for folder in folders if folder.is_dir()]
            continue
        except (ImportError, ValueError, OSError):
            return None
        if spec is None:
            return None
        paths = spec.submodule_search_locations
    place = Path(spec.origin) if spec is not None and spec.origin else None
    return place if place is not None and place.suffix == ".py" and not _is_installed(place) else None


def _is_installed(file: Path) -> bool:
    """Whether a file is Python's own, or in a folder that pip has written to."""
    standard = {Path(sysconfig.get_paths()[kind]) for kind in ("stdlib", "platstdlib")}
    return any(parent in standard or _has_packages(parent) for parent in file.resolve().parents)


@cache
def _has_packages(folder: Path) -> bool:
    """Whether pip has installed a package into a folder."""
    return next(folder.glob("*.dist-info"), None) is not None
