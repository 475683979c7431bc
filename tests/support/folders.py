"""A folder as a mapping from file names to bytes, to compare two folders whole."""

from pathlib import Path


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def tree(folder: Path, without: tuple[str, ...] = ("runs", "footers")) -> dict[str, bytes]:
    """Relative path -> bytes of every file below a folder, those in the subfolders `without` aside."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    found = {str(path.relative_to(folder)): path.read_bytes() for path in files}
    return {name: data for name, data in found.items() if name.split("/")[0] not in without}
