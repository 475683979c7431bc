"""A folder as a mapping from file names to bytes, to compare two folders whole."""

import json
from pathlib import Path

INDEX_MANIFESTS = ("image.json", "text.json")


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, the states of exports aside: they hold times."""
    files = (p for p in folder.rglob("*") if p.is_file() and not is_states(p.name))
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


def is_states(name: str) -> bool:
    """Whether a file of that name holds the states of an export's files (export/places/contents.py)."""
    return name.endswith(".winnow-states.json")


def tree(folder: Path, without: tuple[str, ...] = ("runs", "footers")) -> dict[str, bytes]:
    """Relative path -> bytes of every file below a folder, those in the subfolders `without` aside."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and not is_states(path.name))
    found = {str(path.relative_to(folder)): path.read_bytes() for path in files}
    return {name: data for name, data in found.items() if name.split("/")[0] not in without}


def placeless(name: str, data: bytes) -> bytes:
    """The bytes of an exported file; of an index's manifest, all but where its pool is, as it is seen from
    the export, and the seal over that."""
    if name.rpartition("/")[2] not in INDEX_MANIFESTS:
        return data
    said = json.loads(data)
    return json.dumps({key: said[key] for key in said if key not in ("pool", "seal")}).encode()
