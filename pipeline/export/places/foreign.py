"""Which files of an export's folder are neither the export's own nor somebody's work."""

import os

from pipeline.errors import RecipeError
from pipeline.export.places.contents import STATES_FILE
from pipeline.storage.folder import Folder

NEXT = ".winnow-next"
DESKTOP_FILES = (".ds_store", ".localized", "thumbs.db", "ehthumbs.db", "desktop.ini", ".directory")


def in_transit(name: str) -> bool:
    """Whether a file of an export's folder is a lock, its states, or part of the next export."""
    first = name.partition("/")[0]
    return first in (NEXT, STATES_FILE) or (first.startswith(".") and first.endswith("winnow.lock"))


def of_desktop(name: str) -> bool:
    """Whether macOS, Windows or a Linux desktop puts such a file into every folder that it shows."""
    return (last := os.path.basename(name).lower()) in DESKTOP_FILES or last.startswith("._")


def check_is_folder(folder: Folder, key: str) -> None:
    """Raises RecipeError if something else than a folder lies at the path, or at one above it."""
    if not folder.local:
        return
    path = folder.base
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    if not os.path.isdir(path):
        raise RecipeError(f"{key}: {path} exists and is not a folder; name another folder")
