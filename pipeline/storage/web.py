"""Files of web servers, also of those that ignore byte ranges, as Python's `http.server` does.

    with open_remote(fs, "https://example.org/00000.tar") as file:
        file.seek(1_000_000)
        header = file.read(512)

fsspec asks for byte ranges, and raises ValueError if it gets the whole file instead. Then the file is read
from the front, and what lies before the bytes that are asked for is dropped. To go back, it is read anew.
"""

import io
import logging
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

LOG = logging.getLogger("winnow.storage.web")  # shown without --verbose, too
DROPPED = 4 << 20  # bytes dropped at a time
GONE = (404, 410)  # answers that say that there is no such file,
REFUSED = (401, 403, 407)  # and that it may not be read
SILENCE = 60.0  # seconds that a server may be silent while it sends a file


def open_remote(fs: Any, path: str, **options: Any) -> Any:
    """Open a file of any fsspec file system but the local one for reading; see WebFile for web servers."""
    web = path.startswith(("http://", "https://"))
    return WebFile(fs, path, **options) if web else fs.open(path, "rb", **options)


class WebFile(io.RawIOBase):
    """A file of a web server. Reading it raises what the client raises, never ValueError."""

    def __init__(self, fs: Any, url: str, **options: Any) -> None:
        super().__init__()
        self._fs = fs
        self._url = url
        self._file = self._open(**options)
        self._ranges = hasattr(self._file, "cache") and self._file.size is not None  # else it is a stream
        self.size: int | None = self._file.size if self._ranges else None
        self.details = self._file.details
        self._at = 0  # the end of what was read last
        self._wanted = 0

    @property
    def cache(self) -> Any:
        """fsspec's cache of the file, which knows what was asked for; None of a server without ranges."""
        return getattr(self._file, "cache", None)

    def readable(self) -> bool:
        """See io.IOBase."""
        return True

    def seekable(self) -> bool:
        """See io.IOBase."""
        return True

    def tell(self) -> int:
        """See io.IOBase."""
        return self._wanted

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """See io.IOBase. From the end only if the server tells the size."""
        if whence == io.SEEK_END:
            if self.size is None:
                raise OSError(f"{self._url}: the server does not tell the size of the file")
            offset += self.size
        self._wanted = offset + (self._wanted if whence == io.SEEK_CUR else 0)
        return self._wanted

    def read(self, length: int | None = -1) -> bytes:
        """The next `length` bytes, fewer at the end of the file; all that are left by default."""
        data = self._read(-1 if length is None else length)
        self._wanted += len(data)
        return data

    def close(self) -> None:
        """See io.IOBase."""
        if not self.closed:
            self._file.close()
        super().close()

    def _read(self, length: int) -> bytes:
        anew = self._ranges
        if self._ranges:
            try:
                self._file.seek(self._wanted)
                data = bytes(self._file.read(length))
                self._at = self._wanted + len(data)
                return data
            except ValueError:
                self._ranges = False
        if self._wanted != self._at:
            _tell_once("{0.scheme}://{0.netloc}".format(urlsplit(self._url)))
        if anew or self._wanted < self._at:
            self._begin()
        while (gap := self._wanted - self._at) > 0:
            if not self._next(min(gap, DROPPED)):
                return b""
        parts = []
        left = length
        while left and (part := self._next(left if left > 0 else DROPPED)):
            parts.append(part)
            left -= len(part) if length > 0 else 0
        return b"".join(parts)

    def _next(self, length: int) -> bytes:
        """The next bytes of the stream, at most so many; none at its end."""
        part: bytes = self._file.read(length)
        self._at += len(part)
        return part

    def _begin(self) -> None:
        """Ask for the file as a whole."""
        import aiohttp

        self._file.close()
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=SILENCE, sock_read=SILENCE)
        self._file = self._open(block_size=0, size=1, timeout=timeout)  # with a size, HEAD is not asked
        self._at = 0

    def _open(self, **options: Any) -> Any:
        """Open the file. fsspec calls every trouble on the way FileNotFoundError, which no second attempt
        would mend. Raises PermissionError and OSError with the server's answer."""
        try:
            return self._fs.open(self._url, "rb", **options)
        except FileNotFoundError as error:
            cause: Any = error.__cause__
            status = getattr(cause, "status", None)
            if cause is None or status in GONE:
                raise
            if status is None:
                raise cause from None
            kind = PermissionError if status in REFUSED else OSError
            answer = f"the server answers {status} {cause.message}" if status else type(cause).__name__
            raise kind(f"{self._url}: {answer.rstrip()}") from None


@lru_cache(maxsize=64)
def _tell_once(server: str) -> None:
    LOG.warning(
        "%s gives no byte ranges: samples are found by reading a shard from its front, which takes longer; to "
        "avoid it, serve the shards with a server that has ranges, or copy them",
        server,
    )
