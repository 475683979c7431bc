"""A lock: one holder at a time of a name in a folder, such as a store or the folder of an export.

    with held(Folder("out"), ".winnow.lock", "winnow export", wait=False) as lock:
        ...
        lock.check()             # raises HeldError if another process has taken the lock over

The lock is a small file that says in JSON who holds it: host, process, since when, and for what. It is
removed at the end.

- On a local disk the holder keeps it under `flock`. The kernel frees it with the process, so a holder that
  was killed is noticed at once.
- On object storage, and on a disk without `flock`, the holder shows signs of life (`object_lock.py`).

A process that is forked off does not inherit a lock.
"""

import errno
import fcntl
import logging
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import Protocol

import orjson

from pipeline.errors import HeldError
from pipeline.storage.folder import Folder
from pipeline.storage.locks.object_lock import Holder, ObjectLock, foreign, parse, this_process

LOG = logging.getLogger("winnow.storage")

TELL_AGAIN = 60.0  # seconds between two messages to whoever waits
NO_FLOCK = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)

Tell = Callable[[str], None]


class Lock(Protocol):
    """A lock that this process holds."""

    def check(self) -> None:
        """Raises HeldError if another process has taken the lock over, since this one was silent too long."""


@contextmanager
def held(folder: Folder, name: str, purpose: str, wait: bool, tell: Tell = LOG.warning) -> Iterator[Lock]:
    """Hold the lock `name` of a folder until the block ends. If another process holds it: wait for its end
    and `tell` every minute who that is, or, without `wait`, raise HeldError. `purpose` is shown to others,
    such as the command. Raises RecipeError if the lock's file is not one that Winnow wrote."""
    lock = _acquire(folder, name, this_process(purpose), wait, tell)
    try:
        yield lock
    finally:
        lock.release()


def _acquire(folder: Folder, name: str, me: Holder, wait: bool, tell: Tell) -> "_FileLock | ObjectLock":
    """Try until the lock is taken. Raises HeldError."""
    attempt: _FileLock | ObjectLock
    attempt = _FileLock(folder, name, me) if folder.local else ObjectLock(folder, name, me)
    told = -TELL_AGAIN
    while True:
        try:
            if attempt.take():
                return attempt
        except OSError as error:
            if not isinstance(attempt, _FileLock) or error.errno not in NO_FLOCK:
                raise
            attempt = ObjectLock(folder, name, me)
            continue
        if attempt.other and attempt.is_alive and not wait:
            raise HeldError(
                f"{folder.base} is in use by {attempt.other}; wait until that has ended, then run this again"
            )
        if attempt.other and time.monotonic() - told >= TELL_AGAIN:
            tell(f"waiting for {folder.base}, in use by {attempt.other}")
            told = time.monotonic()
        time.sleep(attempt.poll)


# --- on a local disk ------------------------------------------------------------------------------


_OPEN = set[int]()  # descriptors of the locks that this process holds


def _close_inherited() -> None:
    """In a process that was just forked: close the locks of its parent, so that they end with the parent."""
    for descriptor in _OPEN:
        with suppress(OSError):
            os.close(descriptor)
    _OPEN.clear()


os.register_at_fork(after_in_child=_close_inherited)


class _FileLock:
    """A lock under `flock`. After `take` has failed, `other` is who holds it, as far as known."""

    poll = 0.2

    def __init__(self, folder: Folder, name: str, me: Holder) -> None:
        self.path, self.me = folder.path(name), me
        self.other: Holder | None = None
        self.is_alive = False
        self.descriptor = -1

    def take(self) -> bool:
        """Take the lock if it is free. Raises OSError with one of NO_FLOCK if the disk has no locks."""
        os.makedirs(os.path.dirname(self.path), exist_ok=True)
        descriptor = _open_lock(self.path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not _is_at(descriptor, self.path):  # its holder has removed it since
                os.close(descriptor)
                return False
            parse(os.pread(descriptor, 1 << 16, 0), self.path)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, orjson.dumps(asdict(self.me)), 0)
        except BlockingIOError:
            self.other, self.is_alive = parse(os.pread(descriptor, 1 << 16, 0), self.path), True
            os.close(descriptor)
            return False
        except BaseException:
            if not os.fstat(descriptor).st_size:  # made just now
                os.unlink(self.path)
            os.close(descriptor)
            raise
        self.descriptor = descriptor
        _OPEN.add(descriptor)
        return True

    def check(self) -> None:
        """See Lock. Somebody may have removed the file by hand, and another process holds a new one."""
        if not _is_at(self.descriptor, self.path):
            raise HeldError(f"{self.path} was removed while this process held it; run the same command again")

    def release(self) -> None:
        """Remove the file and free it; nothing in a process that was forked off."""
        if self.descriptor not in _OPEN:
            return
        if _is_at(self.descriptor, self.path):
            os.unlink(self.path)
        _OPEN.discard(self.descriptor)
        os.close(self.descriptor)


def _open_lock(path: str) -> int:
    """Open or make the lock's file. Raises RecipeError for a link, and for what is not an ordinary file."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        descriptor = os.open(path, flags, 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise foreign(path) from None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise foreign(path)
    return descriptor


def _is_at(descriptor: int, path: str) -> bool:
    """Whether an open file is still the one at a path."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except OSError:
        return False
