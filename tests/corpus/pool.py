"""The pool that an odd input is put into: sound samples before it and after it, in its own shard and in
others."""

import io
import json
import tarfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.uids import sample_uid
from tests.support.place import Place
from tests.support.samples import picture

COMPUTE = {
    "caption": {"use": "caption.Caption"},
    "facts": {"use": "datacomp.Facts"},
    "light": {"use": "planted.Brightness"},
}
KEEP = {"facts.words": {"min": 1}, "light.mean": {"min": 0}}
SAME = ("uid", "caption", "caption.words", "facts.words", "light.mean")  # what neighbours have in any company
SUFFIXES = ("jpg", "txt", "json")

BEFORE, AFTER = (10, 11), (12, 13)  # numbers of the sound samples around an odd one
FIRST = range(4)  # numbers of those in sound.tar

Members = Sequence[tuple[str, bytes]]  # names and contents of a tar's files


def sound(number: int) -> dict[str, bytes]:
    """The files of a sound sample, by suffix."""
    record = {"url": f"http://example.org/sound/{number}", "width": 24, "height": 16}
    caption = f"a sound picture of thing number {number}"
    return {
        "jpg": picture(number, format="JPEG"),
        "txt": caption.encode(),
        "json": json.dumps(record).encode(),
    }


def sound_uids() -> list[str]:
    """The uids of all sound samples."""
    wholes = [sound(number) for number in (*FIRST, *BEFORE, *AFTER)]
    return [sample_uid(None, w["txt"].decode(), json.loads(w["json"])["url"], "", "", 0) for w in wholes]


def members(samples: Mapping[str, Mapping[str, bytes]]) -> Members:
    """The files of samples by key, in order."""
    return [(f"{key}.{suffix}", data) for key, files in samples.items() for suffix, data in files.items()]


def pack(files: Members, format: int = tarfile.USTAR_FORMAT) -> bytes:
    """A tar of files. Names are written as they are, bytes that are not UTF-8 (as surrogates) included."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format, errors="surrogateescape") as tar:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


class OddPool(Place):
    """A place for one kind. Its pool has a sound shard of four samples, `sound.tar`; a kind adds to it.

    `list`, if it is set, is a list of URLs: it is downloaded, and nothing else is done.

    `serve` is a context that lasts as long as the commands run, such as a server with the pool's files; it
    gives variables of their environment.

    `arguments` are given to every command after the recipe; `local`, whether those that can run in the plain
    loop do. `text`, if it is set, is the recipe as it is
    written, with {pool}, {store} and {out} replaced.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.compute = {name: dict(given) for name, given in COMPUTE.items()}
        self.keep = {name: dict(given) for name, given in KEEP.items()}
        self.export = {"shards": "out/shards", "samples_per_shard": 3, "table": "out/table.parquet"}
        self.serve: Callable[[], AbstractContextManager[Mapping[str, str]]] = partial(nullcontext, {})
        self.arguments: list[str] = []
        self.local = True
        self.text: bytes | None = None
        self.write("sound.tar", pack(members({f"{n:03}": sound(n) for n in FIRST})))
        self.neighbours = len(FIRST)
        self.list: Path | None = None
        self.exported = True  # whether the recipe has a table to export

    def write(self, name: str, data: bytes) -> Path:
        """A file of the pool."""
        path = self.pool / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def beside(self, name: str, data: bytes) -> Path:
        """A file beside the pool: a list, a checkpoint, an index."""
        path = self.folder / name
        path.write_bytes(data)
        return path

    def among(self, odd: Members, format: int = tarfile.USTAR_FORMAT, name: str = "odd.tar") -> Path:
        """A tar with two sound samples, odd files, and two more sound samples."""
        before = members({f"a{n}": sound(n) for n in BEFORE})
        after = members({f"z{n}": sound(n) for n in AFTER})
        self.neighbours += len(BEFORE) + len(AFTER)
        return self.write(name, pack([*before, *odd, *after], format))

    def sample(
        self, files: Mapping[str, bytes] | None = None, without: Sequence[str] = (), **parts: Any
    ) -> Path:
        """A tar with an odd sample between sound ones: a sound sample in which `files` replaces the files of
        these suffixes, `parts` those of the json (`caption`, `url`, ...), and some suffixes are missing."""
        whole = sound(99)
        if parts:
            whole["json"] = json.dumps({**json.loads(whole["json"]), **parts}).encode()
        whole.update(files or {})
        return self.among(
            [(f"odd.{suffix}", data) for suffix, data in whole.items() if suffix not in without]
        )

    def recipe(self, home: Path | None = None) -> Path:
        """Write the recipe; see `text`."""
        path = super().recipe(home)
        if self.text is not None:
            text = self.text
            for word, value in (("pool", self.pool), ("store", self.store), ("out", self.out)):
                text = text.replace(b"{%s}" % word.encode(), str(value).encode())
            path.write_bytes(text)
        return path
