"""A lock on storage without `flock`: a file that one process creates and rewrites while it lives.

Only one process can create the file (S3: If-None-Match, Google: ifGenerationMatch=0). The holder rewrites it
every BEAT seconds. Whoever wants the lock watches it: if it does not change for SILENT seconds by the
watcher's own clock, or if its process is one of this machine and has ended, the watcher takes over. Storage
that cannot create conditionally: the file is written, and after SETTLE seconds whoever reads back its own has
the lock. `lock.held` is the door to it.
"""

import errno
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime

import orjson

from pipeline.errors import HeldError, RecipeError, worded
from pipeline.storage.disk import is_alive
from pipeline.storage.folder import Folder
from pipeline.storage.retry import from_storage

LOG = logging.getLogger("winnow.storage")

BEAT = 15.0  # seconds between two signs of life of a holder
SILENT = 60.0  # seconds without one, after which a holder counts as dead
SETTLE = 1.0  # seconds after which a write without a condition is visible to others
CONDITIONAL = {"s3", "s3a", "gs", "gcs", "memory"}  # protocols whose `pipe_file(mode="create")` is atomic


@dataclass(frozen=True)
class Holder:
    """Who holds a lock.

    machine   tells machines and containers of one host name apart: only there `pid` means anything
    since     when it was taken, UTC
    token     another one for each time that a lock is taken
    beat      how often the holder has shown since then that it lives
    """

    host: str
    pid: int
    machine: str
    purpose: str
    since: str
    token: str
    beat: int = 0

    def __str__(self) -> str:
        return f"{self.host}, process {self.pid}, since {self.since} ({self.purpose})"

    @property
    def is_dead(self) -> bool:
        """Whether its process is known to have ended. Of another machine nothing is known."""
        return self.machine == _machine() and not is_alive(self.pid)


def this_process(purpose: str) -> Holder:
    """This process as a holder."""
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return Holder(socket.gethostname(), os.getpid(), _machine(), purpose, now, uuid.uuid4().hex)


def _machine() -> str:
    """A name of this machine, this start of it, and this container's own numbers of processes."""
    with suppress(OSError), open("/proc/sys/kernel/random/boot_id") as file:
        return f"{file.read().strip()} {os.readlink('/proc/self/ns/pid')} {socket.gethostname()}"
    return socket.gethostname()


def parse(data: bytes, path: str) -> Holder | None:
    """The holder that a lock's file names; None if it was killed before it wrote its name. Raises RecipeError
    for a file that is not a lock."""
    if not data.strip(b"\0"):
        return None
    try:
        return Holder(**orjson.loads(data))
    except (ValueError, TypeError):
        raise foreign(path) from None


def foreign(path: str) -> RecipeError:
    return RecipeError(f"{path} exists and was not written by Winnow: move it")


# --- the lock -------------------------------------------------------------------------------------


@dataclass
class ObjectLock:
    """A lock whose holder shows signs of life. After `take` has failed, `other` is who holds it, and
    `is_alive` says whether that one has shown life since this process first looked."""

    folder: Folder
    name: str
    me: Holder
    other: Holder | None = None
    is_alive: bool = False
    seen: bytes = b""  # the file as this process saw it last, since `seen_at` on its own clock
    seen_at: float = 0.0
    lost: bool = False
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def poll(self) -> float:
        """Seconds between two attempts."""
        return min(2.0, BEAT / 4)

    def take(self) -> bool:
        """Take the lock if it is free or its holder is dead."""
        if not self._create(self.name) and not self._take_over_if_dead():
            return False
        self.pid = os.getpid()
        self.thread = threading.Thread(target=self._show_life, daemon=True)
        self.thread.start()
        return True

    def check(self) -> None:
        """See Lock."""
        if self.lost or not self._is_mine(self._read(self.name)):
            raise HeldError(
                f"{self.folder.path(self.name)}: this process was silent for over {SILENT:g} s and another "
                "has taken over; run the same command again"
            )

    def release(self) -> None:
        """Remove the file if it is still this process's; nothing in a process that was forked off."""
        if os.getpid() != self.pid:
            return
        self.ended.set()
        self.thread.join()
        with _only_logged():
            if self._is_mine(self._read(self.name)):
                self._remove(self.name)

    # --- signs of life ----------------------------------------------------------------------------

    def _show_life(self) -> None:
        """Rewrite the file now and then, until the lock is released or lost."""
        beats = 0
        while not self.ended.wait(BEAT) and not self.lost:
            with _only_logged():
                if self._is_mine(self._read(self.name)):
                    beats += 1
                    self._write(replace(self.me, beat=beats))
                else:
                    self.lost = True

    def _take_over_if_dead(self) -> bool:
        """Look at the file; take it over if its holder is dead."""
        if (seen := self._read(self.name)) is None:
            return False  # removed since: the next attempt may create it
        self.other = parse(seen, self.folder.path(self.name))
        if self._is_mine(seen):
            return True  # created, but the answer was lost
        if seen != self.seen:
            self.is_alive = bool(self.seen)
            self.seen, self.seen_at = seen, time.monotonic()
        is_silent = time.monotonic() - self.seen_at >= SILENT
        return (is_silent or (self.other is not None and self.other.is_dead)) and self._take_over(seen)

    def _take_over(self, seen: bytes) -> bool:
        """Replace the file of a dead holder. Of several that try, the one that creates the claim does it. A
        claim that is still there after the next SILENT seconds is that of a process that died in between."""
        claim = f"{self.name}.claim"
        if not self._create(claim):
            holder = parse(self._read(claim) or b"", claim)
            if (holder and holder.is_dead) or time.monotonic() - self.seen_at >= 2 * SILENT:
                self._remove(claim)
            return False
        try:
            if self._read(self.name) == seen:
                self._write(self.me)
        finally:
            self._remove(claim)
        return self._is_mine(self._read(self.name))

    # --- files ------------------------------------------------------------------------------------

    def _is_mine(self, data: bytes | None) -> bool:
        holder = parse(data or b"", self.folder.path(self.name))
        return holder is not None and holder.token == self.me.token

    def _create(self, name: str) -> bool:
        """Create a file with this holder in it, unless there is one. On other storage than CONDITIONAL two
        processes may both write: then the later write counts."""
        path, data = self.folder.path(name), orjson.dumps(asdict(self.me))
        try:
            if self.folder.local:
                _create_local(self.folder, name, data)
                return True
            self.folder.fs.pipe_file(path, data, mode="create")
        except FileExistsError:
            return False
        except (NotImplementedError, TypeError, ValueError, OSError) as error:
            if isinstance(error, OSError) and error.errno != errno.ENOSYS:
                raise
            if self._read(name) is not None:
                return False
            self.folder.fs.pipe_file(path, data)
        else:
            if not CONDITIONAL.isdisjoint(_protocols(self.folder)):
                return True
        time.sleep(SETTLE)
        return self._is_mine(self._read(name))

    def _read(self, name: str) -> bytes | None:
        try:
            return self.folder.read(name)
        except FileNotFoundError:
            return None

    def _write(self, holder: Holder) -> None:
        self.folder.publish(self.name, orjson.dumps(asdict(holder)))

    def _remove(self, name: str) -> None:
        with suppress(FileNotFoundError):
            self.folder.fs.rm_file(self.folder.path(name))


def _create_local(folder: Folder, name: str, data: bytes) -> None:
    """Create a local file with its content in it from the start. Raises FileExistsError."""
    with folder.temporary_folder() as temporary:
        with open(f"{temporary}/lock", "xb") as file:
            file.write(data)
        os.link(f"{temporary}/lock", folder.path(name))


def _protocols(folder: Folder) -> tuple[str, ...]:
    """The names of the folder's file system."""
    protocol = folder.fs.protocol
    return (protocol,) if isinstance(protocol, str) else tuple(protocol)


@contextmanager
def _only_logged() -> Iterator[None]:
    """Log an error of storage instead of raising it: the next sign of life may come through."""
    try:
        yield
    except Exception as error:
        if not from_storage(error):
            raise
        LOG.warning("lock: %s", worded(error))
