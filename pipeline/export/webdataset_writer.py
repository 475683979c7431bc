"""webdataset's TarWriter, without torch.

Importing webdataset imports torch, for its loaders: two seconds and 270 MB in every process that writes tars,
most of a small run. But webdataset also works without torch, and its writer needs none. So it is imported as
if there were no torch, and then forgotten: whoever imports it later gets all of it.
"""

import sys
import threading
from collections.abc import Sequence
from functools import cache
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

PACKAGE = "webdataset"
_ONE = threading.Lock()


def tar_writer() -> Any:
    """The class TarWriter. For threads that begin at the same time, too."""
    with _ONE:
        return _tar_writer()


@cache
def _tar_writer() -> Any:
    """See `tar_writer`."""
    if PACKAGE in sys.modules or "torch" in sys.modules:
        from webdataset import TarWriter

        return TarWriter
    hidden = _NoTorch()
    sys.meta_path.insert(0, hidden)
    try:
        from webdataset import TarWriter
    finally:
        sys.meta_path.remove(hidden)
        for name in [name for name in sys.modules if name.split(".")[0] == PACKAGE]:
            del sys.modules[name]
    return TarWriter


class _NoTorch:
    """A finder by which this thread finds no torch. Other threads do."""

    def __init__(self) -> None:
        self.thread = threading.get_ident()

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Raises ModuleNotFoundError for torch; None for all others, which other finders find."""
        if name == "torch" and threading.get_ident() == self.thread:
            raise ModuleNotFoundError("No module named 'torch'", name=name)
        return None
