"""What storage says of paths that are given as they are, without a glob.

A local path costs one call of `stat`. On object storage, paths of one folder share one listing of it, and a
path that is alone costs one request. Web servers are asked for each address, many at a time.
"""

import os
import stat
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from pipeline.pool.listing import reasons
from pipeline.pool.listing.patterns import Place
from pipeline.pool.listing.tree import File
from pipeline.storage.identity import MISSING, UNTOLD, listed_state, local_state
from pipeline.storage.retry import from_storage
from pipeline.storage.web import GONE

REQUESTS = 32  # requests at a time
ABSENT = File(None, MISSING)
UNKNOWN = File(None, "")  # storage does not let one ask


def local_file(path: str, beside: str | None = None) -> File | None:
    """A local file, or None for a folder. One that does not exist has the state MISSING. `beside`: the path
    of the file that may describe it. Raises ValueError for a FIFO, device or socket."""
    try:
        seen = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return ABSENT
    except OSError:
        return UNKNOWN  # reading it will say why
    if stat.S_ISDIR(seen.st_mode):
        return None
    if not stat.S_ISREG(seen.st_mode):
        raise ValueError(f"pool.shards: {path} is {reasons.special(seen.st_mode)}, not a file with samples")
    return File(seen.st_size, local_state(seen), _state_beside(beside))


def _state_beside(path: str | None) -> str:
    """The state of a local file; empty if there is none."""
    try:
        return local_state(os.stat(path)) if path is not None else ""
    except OSError:
        return ""


def remote_files(places: Sequence[Place], describing: Callable[[str], str | None]) -> dict[str, File | None]:
    """Files on other storage by full path; None for a folder. `describing`: the path of the file that may
    describe the one at a path."""
    groups: dict[tuple[int, str], list[Place]] = defaultdict(list)
    for place in places:
        alone = place.path if place.web else place.path.rpartition("/")[0]
        groups[id(place.fs), alone].append(place)
    work = partial(_in_folder, describing=describing)
    with ThreadPoolExecutor(REQUESTS) as pool:
        return {path: file for files in pool.map(work, groups.values()) for path, file in files.items()}


def _in_folder(places: Sequence[Place], describing: Callable[[str], str | None]) -> dict[str, File | None]:
    """The files of one folder."""
    fs = places[0].fs
    fs.invalidate_cache()  # the files may have changed since this process last looked
    if len(paths := {place.path for place in places}) == 1:
        file = _asked(places[0])
        if file is not None and not places[0].web and describing(places[0].path):
            file = file._replace(beside=UNTOLD)  # to ask would cost another request
        return {places[0].full(places[0].path): file}
    listed: Mapping[str, Any] | None
    try:
        infos = fs.ls(next(iter(paths)).rpartition("/")[0], detail=True)
        listed = {info["name"].rstrip("/"): info for info in infos}
    except FileNotFoundError:
        listed = {}
    except Exception as error:
        if not from_storage(error):
            raise
        listed = None  # listing may not be allowed where reading is
    if listed is None:
        return {place.full(place.path): UNKNOWN for place in places}
    return {
        place.full(place.path): _file(listed.get(place.path), listed.get(describing(place.path) or ""))
        for place in places
    }


def _asked(place: Place) -> File | None:
    """One file, by a request of its own."""
    try:
        return _file(place.fs.info(place.path))
    except FileNotFoundError as error:
        status = getattr(error.__cause__, "status", None)  # fsspec calls every error of a web server so
        return UNKNOWN if place.web and status not in GONE else ABSENT
    except Exception as error:
        if not from_storage(error):
            raise
        return UNKNOWN


def _file(info: Mapping[str, Any] | None, beside: Mapping[str, Any] | None = None) -> File | None:
    """The file that an info describes: absent without an info, None for a folder. `beside`: the info of the
    file that describes it."""
    if info is None:
        return ABSENT
    if info["type"] == "directory":
        return None
    return File(info.get("size"), listed_state(info), listed_state(beside) if beside else "")
