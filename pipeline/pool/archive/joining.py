"""The samples of a tar, also if it is not sorted by key: all pictures first and all captions after, or the
files of several samples in turn.

A sample that lacks its picture or its caption waits for the rest, for `limits.join_bytes` of the tar.
Samples stay in the order of their first members. If nothing comes in all these bytes, the tar counts as
sorted, and no sample waits any more. A member that comes too late is damage: with it, the tar has
been read as far as it can be. A tar whose samples are whole is not held at all.

Equal keys are joined only if there is one sample with that key; samples that share a key are consecutive
members, as in a sorted tar.
"""

from collections import deque
from collections.abc import Iterator

from pipeline.pool.fields import IMAGES, USUAL, Limits, escaped
from pipeline.pool.tar import Damage, Member, Walk
from pipeline.pool.webdataset import CAPTIONS, Sample, keyed

MOST_WAITING = 1 << 14  # samples
HELD = frozenset((*IMAGES, *CAPTIONS))  # suffixes of members whose data are needed
PICTURES = frozenset(IMAGES)

Fields = dict[str, Member]


class Joined:
    """The samples of a tar, in order. Once the loop has ended, `damage` is known: that of the walk, or that
    the tar is not sorted.

    After a break in the tar, the last sample is left out unless it is known to be whole.
    """

    def __init__(self, members: Walk, limits: Limits = USUAL) -> None:
        self.damage: Damage | None = None
        self._members = members
        self._limits = limits
        self._waiting: deque[tuple[str, Fields]] = deque()  # in order
        self._open: dict[str, Fields] = {}  # those of `_waiting` that a member may join
        self._suffixes: dict[str, tuple[str, ...]] = {}  # of the samples that were given, by key
        self._kinds: dict[tuple[str, ...], tuple[str, ...]] = {}  # so that equal ones are held once
        self._repeated: set[str] = set()  # keys of several samples
        self._joined = False  # whether a member has joined its sample late
        self._sorted = False  # whether samples wait no longer

    def __iter__(self) -> Iterator[Sample]:
        before = last = None
        for sample in self._samples():
            if last is not None:
                if self._members.damage and _is_cut(last):
                    return
                yield last
            before, last = last, sample
        if self.damage is None:
            self.damage = self._members.damage
        if last is None or _is_cut(last):
            return
        if self._members.damage is None or (before and before.members.keys() == last.members.keys()):
            yield last

    def _samples(self) -> Iterator[Sample]:
        """The samples, also one that is cut at a break: the member at the break takes part in the grouping,
        so that its name says which sample it belongs to. If its name is unknown, the last sample counts as
        whole if it has the same suffixes as the one before."""
        key = ""
        fields: Fields = {}
        most = self._limits.sample_files
        waiting = self._waiting
        members = _with_cut_member(self._members)
        for name, suffix, member in keyed(members, self._is_key):
            suffix = suffix.lower()
            if name != key or suffix in fields:
                if fields:
                    if waiting or not (self._sorted or _is_whole(fields)):
                        yield from self._closed(key, fields)
                    elif sample := self._given(key, fields):
                        yield sample
                    if self.damage:
                        break
                key = name
                fields = self._begun(key, suffix) if waiting else {}
            if len(fields) > most:
                continue
            fields[suffix] = member if suffix in HELD or member.data is None else _without_data(member)
        else:
            if fields:
                yield from self._closed(key, fields)
        for _ in members:  # so that the whole file counts towards the content
            pass
        while self._waiting and not self.damage:
            head = self._waiting.popleft()
            if self._joined and self._members.damage and not _is_whole(head[1]):
                return  # the rest of it may lie behind the break
            if sample := self._given(*head):
                yield sample

    def _is_key(self, stem: str) -> bool:
        """Whether a sample with this key came before."""
        return stem in self._suffixes or stem in self._open

    def _begun(self, key: str, suffix: str) -> Fields:
        """The files of a sample to which a member is to be added: one that waits for it, or a new one."""
        if (fields := self._open.get(key)) is not None:
            if suffix not in fields:
                self._joined = True
                return fields
            self._repeated.add(key)
            del self._open[key]
        return {}

    def _closed(self, key: str, fields: Fields) -> Iterator[Sample]:
        """Another key has come, and samples wait, or this one will: those that are ready by now."""
        if self._open.get(key) is not fields:
            self._waiting.append((key, fields))
            if key not in self._repeated and key not in self._suffixes:
                self._open[key] = fields
        end = next(reversed(fields.values())).header_offset
        while self._waiting and not self.damage:
            head, first = self._waiting[0]
            if not self._sorted and (self._joined or not _is_whole(first)):
                start = next(iter(first.values())).header_offset
                if end - start <= self._limits.join_bytes and len(self._waiting) <= MOST_WAITING:
                    return
                self._sorted = not self._joined
            self._waiting.popleft()
            self._open.pop(head, None)
            if sample := self._given(head, first):
                yield sample

    def _given(self, key: str, fields: Fields) -> Sample | None:
        """A sample; None if it is the rest of one that was given before: then the tar is not sorted."""
        suffixes = tuple(fields)
        suffixes = self._kinds.setdefault(suffixes, suffixes)
        before = self._suffixes.setdefault(key, suffixes)
        if before is not suffixes or key in self._repeated:
            if not set(before).isdisjoint(suffixes):
                self._repeated.add(key)
            elif key not in self._repeated:
                self.damage = self._unsorted(key, next(iter(fields.values())))
                return None
        trouble = ""
        if len(fields) > self._limits.sample_files:
            trouble = f"it has more than {self._limits.sample_files:,} files (limits.sample_files)"
        return Sample(escaped(key), fields, trouble)

    def _unsorted(self, key: str, late: Member) -> Damage:
        """The damage of a member that comes too late."""
        name = escaped(late.name)
        reason = (
            f"the tar is not sorted by key: {name} comes after sample {escaped(key)} was read, more than "
            f"{self._limits.join_bytes:,} bytes behind it; sort its members by name, or raise limits.join_bytes"
        )
        return Damage(max(late.header_offset, 0), reason, name)


def _is_whole(fields: Fields) -> bool:
    """Whether a sample has a picture, and a member that may hold the caption."""
    return ("txt" in fields or "json" in fields) and not PICTURES.isdisjoint(fields)


def _without_data(member: Member) -> Member:
    """A member that nothing is read from: its data are let go."""
    return Member(
        member.name, member.header_offset, member.offset, member.size, None, member.trouble, member.link_end
    )


def _is_cut(sample: Sample) -> bool:
    """Whether a break in the tar has cut a sample."""
    return any(member.offset < 0 for member in sample.members.values())


def _with_cut_member(members: Walk) -> Iterator[Member]:
    """The members, and after a break one that stands for the member that is cut there: its offset is
    negative."""
    yield from members
    if members.damage:
        yield Member(members.damage.member or "", -1, -1, 0, None)
