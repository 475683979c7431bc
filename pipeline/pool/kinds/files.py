"""A folder of files: `name.jpg` (or png, jpeg, webp), `name.txt` and `name.json` are one sample.

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

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import groupby, pairwise
from typing import Any, NamedTuple
from urllib.parse import quote, unquote_to_bytes

from fsspec.core import url_to_fs

from pipeline.errors import ShardError
from pipeline.pool.img2dataset import lost_beside
from pipeline.pool.kinds.folders import Entries, find_roots, folders_below, list_folder
from pipeline.pool.kinds.kind import Fields, MembersOf, PoolKind, SampleBatch
from pipeline.pool.kinds.tars import parted
from pipeline.pool.listing.names import shard_name
from pipeline.pool.shards import Listing, Shard
from pipeline.pool.tar import MAX_MEMBER, Member
from pipeline.pool.tar_reader import tables
from pipeline.pool.webdataset import IMAGES, Ranges, Sample, describe, group
from pipeline.storage.ranges import local_path

SAMPLES = 10_000  # of a shard, at most: as many as in img2dataset's folders
OF_A_ROW = {*IMAGES, "txt", "json"}  # suffixes of the files that are read
# Suffixes that make a name a sample. A picture of another format makes a sample without an image.
OF_A_SAMPLE = OF_A_ROW | {"gif", "bmp", "tif", "tiff", "avif", "heic"}
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
            for folder, entries in folders_below(root, passed_over):
                shards |= {shard.name: shard for shard in _shards(folder, roots.shared, entries)}
        if not shards:
            kinds = ", ".join(f"*.{suffix}" for suffix in IMAGES)
            hint = "".join(f"; passed over: {p} ({why})" for p, why in list(passed_over.items())[:1])
            raise ValueError(
                f"pool.shards: no picture ({kinds}) in {roots.folders[0]!r} or a folder below it{hint}"
            )
        return Listing(tuple(shards[name] for name in sorted(shards)), roots.shared, passed_over)

    def touch(self, shard: Shard) -> None:
        """See PoolKind."""
        list_folder(shard.path)

    @property
    def reading(self) -> dict[str, Any]:
        """See PoolKind."""
        return {"kind": "files"}

    def read(self, shard: Shard, rows: int, notes: dict[str, Any]) -> Iterator[SampleBatch]:
        """See PoolKind. Raises FileNotFoundError if a file vanishes meanwhile."""
        digest = hashlib.blake2b(digest_size=16)
        for table in tables(_described(shard, digest), rows):
            yield parted(table)
        if reasons := _lost(shard):
            notes["lost"] = reasons
        notes["content"] = digest.hexdigest()
        notes |= self.reading

    @contextmanager
    def members(self, shard: Shard) -> Iterator[MembersOf]:
        """See PoolKind. Sizes are compared, not contents."""
        sizes = list_folder(shard.path).sizes
        samples = _in_span(shard, sizes)

        def members_of(row: Mapping[str, Any]) -> Fields:
            at = row["row"]
            key = row["key"]
            if at >= len(samples) or samples[at].key != key:
                raise ShardError(f"{shard.path} has changed: sample {at} of {shard.name} is not {key} there")
            files = [_read(shard.path, name, sizes[name]) for name in samples[at].names.values()]
            if sum(file.size for file in files) != row["length"]:
                raise ShardError(f"{shard.path} has changed: the files of {key} have another size")
            return [(f.name.removeprefix(f"{key}."), f.data) for f in files if f.data is not None]

        yield members_of


def _stem(name: str) -> str:
    """A name up to its first dot."""
    return name.partition(".")[0]


def _shards(folder: str, root: str, entries: Entries) -> Iterator[Shard]:
    """The shards of one folder; none if it holds no picture."""
    if not any(name.lower().rpartition(".")[2] in IMAGES for name in entries.sizes):
        return
    for number, files in enumerate(_runs(entries.ordered)):
        name = shard_name(f"{folder}/{number:05d}", root)
        span = "/".join(quote(os.fsencode(file), safe="") for file in (files[0], files[-1]))
        size, state = entries.measured(files[0], files[-1])
        yield Shard(name, folder, size, span, state)


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
        if not OF_A_SAMPLE.isdisjoint(suffixes):
            starts.append(at)
        at += len(suffixes)
    for start, stop in pairwise([*starts[::SAMPLES], len(ordered)]):
        yield ordered[start:stop]


class Group(NamedTuple):
    """The files of one sample: names as the file system has them, by suffix in lower case."""

    key: str
    names: dict[str, str]


def _grouped(names: Iterable[str]) -> list[Group]:
    """The samples that file names make, in the order of the names."""
    ordered = sorted(names)
    named = (Member(_text(name), at, at, 0, None) for at, name in enumerate(ordered))
    return [
        Group(key, {suffix: ordered[member.offset] for suffix, member in members.items()})
        for key, members in group(named)
        if not OF_A_SAMPLE.isdisjoint(members)
    ]


def _text(name: str) -> str:
    """A file's name as text: bytes that are not UTF-8 become U+FFFD."""
    return name if name.isascii() else os.fsencode(name).decode("utf-8", "replace")


def _in_span(shard: Shard, names: Iterable[str]) -> list[Group]:
    """The samples of a shard, from the names in its folder. Few more names are held than the shard has."""
    first, last = (os.fsdecode(unquote_to_bytes(name)) for name in shard.span.split("/"))
    stems = {_stem(first), _stem(last)}  # all names with one stem decide together where their keys end
    near = (name for name in names if first <= name <= last or _stem(name) in stems)
    return [sample for sample in _grouped(near) if all(first <= n <= last for n in sample.names.values())]


def _described(shard: Shard, digest: Any) -> Iterator[tuple[Any, ...]]:
    """The rows of a shard, as `webdataset.describe` gives them; `digest` takes in every file's name and
    size."""
    earlier = Counter[str]()
    for row, (key, members, names) in enumerate(_samples(shard)):
        for name, member in zip(names, members.values(), strict=True):
            digest.update(os.fsencode(name) + f"\0{member.size}\0".encode())
        yield describe(Sample(key, members), shard.name, row, earlier[key], _file_sizes)
        earlier[key] += 1


def _lost(shard: Shard) -> dict[str, int]:
    """The URLs that img2dataset lost of a folder; they count for its first shard."""
    is_root = "://" in shard.path and "/" not in shard.path.partition("://")[2].strip("/")
    if is_root or not shard.name.endswith("00000"):
        return {}  # nothing lies beside a whole bucket
    return lost_beside(shard.path)


def _file_sizes(members: Sequence[Member], image: Member | None) -> Ranges:
    """Bytes of a sample's files, and of its image."""
    return None, sum(member.size for member in members), None, image.size if image else None


def _samples(shard: Shard) -> Iterator[tuple[str, dict[str, Member], list[str]]]:
    """(key, members by suffix, file names) of each sample; on object storage many are read at a time."""
    sizes = list_folder(shard.path).sizes

    def read(sample: Group) -> tuple[str, dict[str, Member], list[str]]:
        members = {
            suffix: _read(shard.path, name, sizes[name], suffix in OF_A_ROW)
            for suffix, name in sample.names.items()
        }
        return sample.key, members, list(sample.names.values())

    groups = _in_span(shard, sizes)
    if local_path(shard.path) is not None:
        yield from map(read, groups)
        return
    with ThreadPoolExecutor(REQUESTS) as pool:
        for start in range(0, len(groups), REQUESTS):  # so that no more than these are held
            yield from pool.map(read, groups[start : start + REQUESTS])


def _read(folder: str, name: str, size: int | None, contents: bool = True) -> Member:
    """A file, without its contents if they are not wanted or larger than MAX_MEMBER. Raises OSError."""
    data: bytes | None = None
    if (path := local_path(folder)) is not None:
        with open(f"{path}/{name}", "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if contents and size <= MAX_MEMBER:
                data = file.read(size)
    elif contents and (size or 0) <= MAX_MEMBER:
        fs, base = url_to_fs(folder)
        data = fs.cat_file(f"{base}/{name}") if size != 0 else b""
    length = len(data) if data is not None else size or 0
    return Member(_text(name), 0, 0, length, None if data is None else memoryview(data))
