"""A folder of files: `name.jpg` (or png, webp, gif, ...), `name.txt` and `name.json` are one sample.

    pool: {shards: photos/, kind: files, store: store/}

img2dataset's `files` output format is such a folder, and so are most sets that people made by hand.

Folders are searched to any depth. A folder that holds a picture is read, in the order of its file names, as
shards of at most 10,000 samples: photos/cats is cats/00000, cats/00001 and so on. A folder without any
picture is passed over: the root of img2dataset's output holds its parquet and json files alone. So are
hidden files and folders. Links are followed.

File names are put together to samples as member names of a tar are, and faults of a sample have the same
reasons. Differs: a name that has neither a picture, a caption nor a json is passed over (README.md,
metadata.csv). A sample has no byte range; `length` is the bytes of all its files. Every file is a request on
object storage: beyond a few million samples there, tars are much faster.
"""

import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import FileIO
from itertools import groupby, pairwise
from typing import Any, NamedTuple
from urllib.parse import quote, unquote_to_bytes

from fsspec.core import url_to_fs

from pipeline.errors import ChangedError
from pipeline.pool.captions import check_members
from pipeline.pool.fetching import Fetch
from pipeline.pool.fields import IMAGES, Limits, escaped
from pipeline.pool.img2dataset import lost_beside
from pipeline.pool.kinds.folders import Entries, find_roots, folders_below, list_folder
from pipeline.pool.kinds.kind import Fields, MembersOf, PoolKind, SampleBatch
from pipeline.pool.listing.names import shard_name
from pipeline.pool.shards import Listing, Shard
from pipeline.pool.tar import MAX_MEMBER, Member
from pipeline.pool.tar_reader import cut
from pipeline.pool.webdataset import Ranges, Sample, describe, group
from pipeline.storage.identity import Digest, Seen
from pipeline.storage.ranges import READ_AGAIN, RUN_AGAIN, identify, local_path

SAMPLES = 10_000  # of a shard, at most: as many as in img2dataset's folders
OF_A_ROW = {*IMAGES, "txt", "json"}  # suffixes of the files that are read
REQUESTS = 32  # samples read at a time from object storage


class Files(PoolKind):
    """A run of the samples in one folder is a shard. `Shard.span` names its first and its last file."""

    noun = "files"
    has_images = True

    def list_shards(self) -> Listing:
        """See PoolKind. A shard's name is its folder's path below the pool's root, and a number: it stays as
        it is if another folder is added."""
        roots = find_roots(self.paths)
        if not roots.folders:
            raise ValueError("pool.shards is empty: name at least one folder")
        shards: dict[str, Shard] = {}
        passed_over: dict[str, str] = {}
        for root in roots.folders:
            for folder, entries, beside in folders_below(root, passed_over):
                shards |= {shard.name: shard for shard in _shards(folder, roots.shared, entries, beside)}
        if not shards:
            kinds = ", ".join(f"*.{suffix}" for suffix in IMAGES)
            hint = "".join(f"; passed over: {p} ({why})" for p, why in list(passed_over.items())[:1])
            raise ValueError(
                f"pool.shards: no picture ({kinds}) in {roots.folders[0]!r} or a folder below it{hint}"
            )
        ordered = tuple(shards[name] for name in sorted(shards))
        return Listing(ordered, roots.shared, passed_over, tuple(roots.searched))

    def check(self, shards: Sequence[Shard], columns: Collection[str]) -> None:
        """See PoolKind."""
        check_members(self.places)

    @property
    def suffixes(self) -> tuple[str, ...]:
        """See PoolKind. A folder without a picture is not read."""
        return tuple(f".{suffix}" for suffix in OF_A_ROW - {"json"})

    def files_of(self, shard: Shard) -> list[str]:
        """See PoolKind. They are found by searching."""
        return []

    def touch(self, shard: Shard) -> None:
        """See PoolKind."""
        list_folder(shard.path)

    def read(
        self, shard: Shard, rows: int, notes: dict[str, Any], images: bool = True
    ) -> Iterator[SampleBatch]:
        """See PoolKind. Raises FileNotFoundError if a file vanishes meanwhile."""
        folder = _Folder(shard)
        digest = Digest()
        places = list(map(str, self.places))
        yield from cut(_described(shard, folder, digest, self.limits, places), rows, images=images)
        folder.check(READ_AGAIN)
        notes |= self.notes_of(Seen(folder.state, digest.hexdigest()))

    def identify(self, shard: Shard) -> Seen:
        """See PoolKind."""
        folder = _Folder(shard)
        digest = Digest()
        for _ in _samples(folder, digest):
            pass
        folder.check(READ_AGAIN)
        return self.read_as(Seen(folder.state, digest.hexdigest()))

    def lost(self, shard: Shard) -> dict[str, int]:
        """See PoolKind."""
        return lost_beside(shard.path)

    @contextmanager
    def members(self, shard: Shard, fetch: Fetch | None = None) -> Iterator[MembersOf]:
        """See PoolKind."""
        count = (fetch or Fetch()).add
        remote = int(local_path(shard.path) is None)
        folder = _Folder(shard)
        count(remote, 0)  # the listing
        folder.expect(shard.state)

        def members_of(row: Mapping[str, Any]) -> Fields:
            at = row["row"]
            key = row["key"]
            if at >= len(folder.samples) or folder.samples[at].key != key:
                raise folder.other(f"sample {at} of {shard.name} is not {key} there")
            names = folder.samples[at].names.values()
            files = [_read(shard.path, name, folder.sizes[name]).member for name in names]
            count(len(files), sum(file.size for file in files))
            if sum(file.size for file in files) != row["length"]:
                raise folder.other(f"the files of {key} have another size")
            return [(f.name.removeprefix(f"{key}."), f.data) for f in files if f.data is not None]

        yield members_of
        count(remote, 0)
        folder.check(RUN_AGAIN)


class _Folder:
    """The files of a shard as they are listed now, and the samples that they make."""

    def __init__(self, shard: Shard) -> None:
        self.path = shard.path
        self._first, self._last = (os.fsdecode(unquote_to_bytes(name)) for name in shard.span.split("/"))
        entries = list_folder(self.path)
        self.sizes = entries.sizes
        self.state = entries.measured(self._first, self._last)[1]
        self.samples = _in_span(self._first, self._last, entries.sizes)

    def check(self, step: str) -> None:
        """Raises ChangedError, with the next step, if the files are not as they were listed."""
        if list_folder(self.path).measured(self._first, self._last)[1] != self.state:
            raise ChangedError(f"{self.path}: files changed while they were read: {step}")

    def expect(self, state: str) -> None:
        """Raises ChangedError if the files have another state than this one; empty if it is not known."""
        if state and state != self.state:
            raise ChangedError(f"{self.path}: files have changed since they were listed: {RUN_AGAIN}")

    def other(self, difference: str) -> ChangedError:
        """An error for files that are not those of a row."""
        return ChangedError(f"{self.path} does not hold the files that were read ({difference}): {RUN_AGAIN}")


def _stem(name: str) -> str:
    """A name up to its first dot."""
    return name.partition(".")[0]


def _shards(folder: str, root: str, entries: Entries, beside: str) -> Iterator[Shard]:
    """The shards of one folder; none if it holds no picture. `beside`: the state of the file that says which
    URLs were lost; they count for the first shard."""
    if not any(name.lower().rpartition(".")[2] in IMAGES for name in entries.sizes):
        return
    for number, files in enumerate(_runs(entries.ordered)):
        name = shard_name(f"{folder}/{number:05d}", root)
        span = "/".join(quote(os.fsencode(file), safe="") for file in (files[0], files[-1]))
        size, state = entries.measured(files[0], files[-1])
        yield Shard(name, folder, size, span, state, beside="" if number else beside)


def _runs(ordered: Sequence[str]) -> Iterator[Sequence[str]]:
    """The file names of each shard of a folder, from all names in it in order."""
    if any(name.count(".") > 1 for name in ordered):
        samples = [list(sample.names.values()) for sample in _grouped(ordered)]
        for start in range(0, len(samples), SAMPLES):
            yield [name for names in samples[start : start + SAMPLES] for name in names]
        return
    # With one dot at most, a key is what comes before it. This way is several times as fast as the one above.
    starts = list[int]()
    at = 0
    for _, names in groupby(ordered, _stem):
        suffixes = [name.rpartition(".")[2].lower() for name in names]
        if not OF_A_ROW.isdisjoint(suffixes):
            starts.append(at)
        at += len(suffixes)
    for start, stop in pairwise([*starts[::SAMPLES], len(ordered)]):
        yield ordered[start:stop]


class SampleFiles(NamedTuple):
    """The files of one sample: names as the file system has them, by suffix in lower case."""

    key: str
    names: dict[str, str]


def _grouped(names: Iterable[str]) -> list[SampleFiles]:
    """The samples that file names make, in the order of the names."""
    ordered = sorted(names)
    named = (Member(name, at, at, 0, None) for at, name in enumerate(ordered))
    return [
        SampleFiles(key, {suffix: ordered[member.offset] for suffix, member in members.items()})
        for key, members, _ in group(named)
        if not OF_A_ROW.isdisjoint(members)
    ]


def _in_span(first: str, last: str, names: Iterable[str]) -> list[SampleFiles]:
    """The samples of a shard, from its first and last file and the names in its folder. Few more names are
    held than the shard has."""
    stems = {_stem(first), _stem(last)}  # all names with one stem decide together where their keys end
    near = (name for name in names if first <= name <= last or _stem(name) in stems)
    return [sample for sample in _grouped(near) if all(first <= n <= last for n in sample.names.values())]


def _described(
    shard: Shard, folder: _Folder, digest: Digest, limits: Limits, places: Sequence[str]
) -> Iterator[tuple[Any, ...]]:
    """The rows of a shard, as `webdataset.describe` gives them. See `_samples`."""
    earlier = Counter[str]()
    for row, sample in enumerate(_samples(folder, digest)):
        yield describe(sample, shard.name, row, earlier[sample.key], _file_sizes, limits, places)
        earlier[sample.key] += 1


def _file_sizes(members: Sequence[Member], image: Member | None) -> Ranges:
    """Bytes of a sample's files, and of its image."""
    return None, sum(member.size for member in members), None, image.size if image else None


def _samples(folder: _Folder, digest: Digest) -> Iterator[Sample]:
    """The samples of a shard; `digest` takes in the name, the size and the content of each of their
    files."""
    for (key, names), files in _files(folder):
        for name, file in zip(names.values(), files, strict=True):
            digest.update(os.fsencode(name) + f"\0{file.member.size}\0{file.content}\0".encode())
        yield Sample(key, dict(zip(names, (file.member for file in files), strict=True)))


class File(NamedTuple):
    """A file that was read: as a member, and the digest of its bytes."""

    member: Member
    content: str


def _files(folder: _Folder) -> Iterator[tuple[SampleFiles, list[File]]]:
    """The samples of a shard, and their files; on object storage many are read at a time."""

    def read(sample: SampleFiles) -> tuple[SampleFiles, list[File]]:
        names = sample.names.items()
        return sample, [_read(folder.path, n, folder.sizes[n], suffix in OF_A_ROW) for suffix, n in names]

    if local_path(folder.path) is not None:
        yield from map(read, folder.samples)
        return
    with ThreadPoolExecutor(REQUESTS) as pool:
        for start in range(0, len(folder.samples), REQUESTS):  # so that no more than these are held
            yield from pool.map(read, folder.samples[start : start + REQUESTS])


def _read(folder: str, name: str, size: int | None, held: bool = True) -> File:
    """A file, without its bytes if they are not to be held or more than MAX_MEMBER. Raises OSError."""
    path = f"{folder}/{name}"
    data: bytes | None = None
    if (local := local_path(path)) is not None:
        with FileIO(local) as file:
            size = os.fstat(file.fileno()).st_size
            data = file.read(size) if size <= MAX_MEMBER else None
    elif (size or 0) <= MAX_MEMBER:
        fs, base = url_to_fs(folder)
        data = fs.cat_file(f"{base}/{name}") if size != 0 else b""
    if data is None:
        return File(Member(escaped(name), 0, 0, size or 0, None), identify(path).content)
    digest = Digest()
    digest.update(data)
    return File(
        Member(escaped(name), 0, 0, len(data), memoryview(data) if held else None), digest.hexdigest()
    )
