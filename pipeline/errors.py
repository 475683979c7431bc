"""The errors Winnow raises, classed by consequence.

WinnowError            every error below; the command line prints its message and no traceback
├── RecipeError        the recipe, a flag or a setting is wrong: nothing has run            exit 2
├── ShardError         a shard cannot be read: it stays pending, the job goes on            exit 1
│   ├── ColumnError    a table lacks a column; if it is the first one, the recipe is wrong
│   ├── ChangedError   it changed while it was read: it is read again
│   └── DamagedError   a file of the store is not as it was written: it is computed again
├── StorageError   storage fails at a path of the recipe before any work, such as without credentials  exit 1
├── HeldError          another process is writing there: nothing has run                    exit 1
└── OperatorError      an operator breaks its contract or fails on every row: the pass stops  exit 3

A bad *sample* does not raise: its columns are null and `<name>.error` says why. A *damaged* shard does not
either: the samples before the break are used, and the books name the break.
"""

import errno
import os
from collections.abc import Collection
from difflib import get_close_matches

# What a disk refuses, and the next step. To run the same command again would not help by itself.
_REFUSALS = {
    errno.EROFS: "is on a read-only file system: make it writable, or name another path",
    errno.EACCES: "may not be used by this user: change its permissions, or name another path",
    errno.EPERM: "may not be used by this user: change its permissions, or name another path",
    errno.ENOSPC: "cannot be written, the disk is full: make room, then run the same command again to go on",
    errno.EDQUOT: "cannot be written, the quota is used up: make room, then run the same command again to go on",
    errno.EISDIR: "is a folder, and a file belongs there: move it away, or name another path",
    errno.ENOTDIR: "is not a folder, or one above it is not: move what is there away, or name another path",
    errno.EEXIST: "is a file or a broken link, and a folder belongs there: move it away, or name another path",
    errno.ENAMETOOLONG: "is too long a path: name a shorter one",
    errno.ELOOP: "is a link that leads in a circle: mend it, or name another path",
}

MOST_SHOWN = 300  # characters of a value that a message shows
MOST_WORDED = 1000  # characters of an error; some quote what they have read


def worded(error: BaseException) -> str:
    """Any exception on one line, for a message or a reason."""
    try:
        said = str(error)
    except Exception as unsaid:  # an error of a plugin or a library may fail at saying what it is
        said = f"its text cannot be made: {type(unsaid).__name__}"
    return refusal(error) or shortened(" ".join(f"{type(error).__name__}: {said}".split()), MOST_WORDED)


def is_fault(error: BaseException) -> bool:
    """Whether an error is a fault of the code that raised it, and not a stop from outside. Two faults are no
    `Exception`: `exit()`, and a panic in a library that is written in Rust, such as polars."""
    return not isinstance(error, KeyboardInterrupt | GeneratorExit)


def refusal(error: BaseException) -> str | None:
    """Which path of a local disk an error is about, what is wrong with it, and the next step; None for other
    errors, which running the same command again may mend."""
    if not isinstance(error, OSError) or error.errno not in _REFUSALS:
        return None
    path = error.filename2 or error.filename
    if not isinstance(path, str | bytes):
        return None
    return f"{os.fsdecode(path)} {_REFUSALS[error.errno]}"


PLUGIN = "winnow_plugin_"  # what the names of plugins' modules begin with


def place(error: BaseException, module: str = PLUGIN) -> tuple[str, int] | None:
    """The file and the last line of a module, by default of any plugin's, that led to an error; None if none
    did, or the module is not a plugin's. The authors of a plugin look for the line, all others for what to
    do."""
    found = None
    trace = error.__traceback__ if module.startswith(PLUGIN) else None
    while trace is not None:
        name = str(trace.tb_frame.f_globals.get("__name__"))
        if name == module or (module == PLUGIN and name.startswith(PLUGIN)):
            found = (trace.tb_frame.f_code.co_filename, trace.tb_lineno)
        trace = trace.tb_next
    return found


def printable(text: str) -> str:
    """The text with each unprintable character escaped: line breaks, terminal escapes, marks that turn the
    direction of text, and halves of characters. Every text that is shown passes through this."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def unmistakable(text: str) -> str:
    """The text, in quotes if it has neither letter nor digit: `-` stands for a value that is missing."""
    return text if any(map(str.isalnum, text)) else f'"{text}"'


def shortened(text: str, most: int = MOST_SHOWN) -> str:
    """The text, or its beginning if it is long."""
    return text if len(text) <= most else f"{text[:most]}... ({len(text):,} characters)"


def brief(value: object) -> str:
    """A value as Python writes it, for a message; of a long one the beginning."""
    try:
        return shortened(repr(value))
    except ValueError:  # Python refuses to write a number of over 4,300 digits
        return f"a {type(value).__name__} of very many digits"


def guess(name: str, known: Collection[str]) -> str:
    """` (did you mean ...?)` with the known name that is closest, in either case; empty if none is close."""
    lower = {one.lower(): one for one in sorted(known)}
    close = get_close_matches(name.lower(), lower, 1)
    return f" (did you mean {lower[close[0]]}?)" if close else ""


def unknown(name: str, what: str, known: Collection[str]) -> str:
    """That a name is not `what`; with the known name that is closest, else with all of them."""
    hint = guess(name, known) or f"; there are: {', '.join(known) or 'none'}"
    return f"{shortened(name)} is not {what}{hint}"


class WinnowError(Exception):
    """Base of all errors with a message for people. `exit_code` is the process's exit status."""

    exit_code = 1


class RecipeError(WinnowError):
    """Wrong recipe, flag or setting; the message names the key, the value and what is allowed."""

    exit_code = 2


class StorageError(WinnowError):
    """Storage fails at a path that the recipe names; the message names the key and the next step."""


class ShardError(WinnowError):
    """One shard cannot be read (missing, no permission, storage down after retries)."""


class ChangedError(ShardError):
    """A shard, or a file beside it, changed while it was read; it is read again."""


class ColumnError(ShardError):
    """A table lacks a column that the recipe names, or the caption."""


class DamagedError(ShardError):
    """A file of the store is not as it was written. It has been set aside; the next run computes it again."""


class HeldError(WinnowError):
    """Another process holds the lock of a store or of an export; the message says who."""


class OperatorError(WinnowError):
    """An operator returned something other than it declares, or failed on every row of a batch."""

    exit_code = 3


def texts(value: object, method: str) -> list[str]:
    """What a method of an operator returned, which must be a list of texts. `method`: the operator and its
    method, for messages. Raises OperatorError."""
    if not isinstance(value, list | tuple) or not all(isinstance(text, str) for text in value):
        raise OperatorError(f"{method}() must return a list of texts, got {brief(value)}")
    return list(value)


class OperatorMissing(TypeError):
    """A subclass of an operator forgot to define a method."""

    def __init__(self, cls: type, method: str) -> None:
        super().__init__(f"{cls.__name__} must define {method}()")
