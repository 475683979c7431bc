"""Which entries of a metadata list occur in a text: MetaCLIP's sub-string matching by Aho-Corasick.

    matcher = Matcher(read_entries("metadata.json"), "english")
    matcher(pl.Series(["a photo of a dog"]))   -> (entry ids of all texts, ids per text)

An automaton is built once per machine, not once per worker. The first process that needs it leaves it in the
user's part of the system's temporary folder; the others load it in hundredths of a second.

Source: MetaCLIP (arXiv 2309.16671) section 3.2 and its released matching; MetaCLIP 2 (arXiv 2507.22062) for
`worldwide`, whose 25 marks beside ASCII's are in OPEN.
"""

import hashlib
import string
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from operator import itemgetter
from pathlib import Path
from typing import Literal

import numpy as np
import orjson
import polars as pl
import pyarrow as pa
from daachorse import DoubleArrayAhoCorasick as Automaton

from pipeline.assets import once_per_machine, read_bytes

Spacing = Literal["english", "worldwide"]

PACKAGED = Path(__file__).parents[1] / "data" / "wordnet.txt.gz"
SPACED = {**{mark: f" {mark} " for mark in ",.;:?!`"}, **dict.fromkeys("\t\n\r", " ")}
OPEN = set(string.punctuation + "。、，；：？！“”‘’（）《》〈〉【】「」『』—～")  # noqa: RUF001
BLANK = "".join(chr(code) for code in range(0x3001) if chr(code).isspace())  # what Python's strip takes off
UNSPACED = (  # scripts written without spaces: ideographs, Thai, Lao, Burmese, Tibetan, Khmer
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2EBEF),
    (0xF900, 0xFAFF),
    (0x2E80, 0x2FFF),
    (0x0E00, 0x0E7F),
    (0x0E80, 0x0EFF),
    (0x1000, 0x109F),
    (0x0F00, 0x0FFF),
    (0x1780, 0x17FF),
)


def spaced_texts(texts: pl.Series) -> pl.Series:
    """(n,) texts as they are searched: `,.;:?!` and the backtick between spaces, other white space as one
    space."""
    return " " + texts.str.replace_many(list(SPACED), list(SPACED.values())) + " "


def spaced_entry(entry: str, spacing: Spacing) -> str:
    """An entry as it is searched for: between spaces. With `worldwide` there is no space beside a character
    of a script without spaces, or beside punctuation."""
    if spacing == "english":
        return f" {entry} "
    before, after = ("" if _is_open(c) else " " for c in (entry[0], entry[-1]))
    return f"{before}{entry}{after}"


def _is_open(character: str) -> bool:
    """Whether `worldwide` puts no space beside this character."""
    return character in OPEN or any(low <= ord(character) <= high for low, high in UNSPACED)


def read_entries(path: str) -> list[str]:
    """A metadata list that `pipeline.assets` can find; "" is the packaged list. It is a JSON list of strings,
    or text with one entry per line, blank lines left out. An entry's id is its index in the list. Files that
    end in .gz, .bz2 or .xz are unpacked. Raises ValueError, OSError."""
    data = read_bytes(path or str(PACKAGED))
    if data.lstrip()[:1] != b"[":
        return [line for line in data.decode("utf-8").splitlines() if line.strip()]
    entries = orjson.loads(data)
    wrong = next((i for i, e in enumerate(entries) if not isinstance(e, str) or not e), None)
    if wrong is not None:
        raise ValueError(f"{path}: entry {wrong} must be a text that is not empty, got {entries[wrong]!r}")
    return list(entries)


class Matcher:
    """Finds the entries that occur in texts. Of equal entries, the last one's id counts."""

    def __init__(self, entries: Sequence[str], spacing: Spacing) -> None:
        last = {spaced_entry(entry, spacing): number for number, entry in enumerate(entries)}
        self.ids = np.array(sorted(last.values()), np.uint32)
        patterns = [spaced_entry(entries[number], spacing) for number in self.ids]
        digest = hashlib.blake2b("\n".join(patterns).encode(), digest_size=16).hexdigest()
        name = f"{digest}-{Automaton.__name__}-{version('daachorse')}"
        self._automaton = Automaton.deserialize(once_per_machine(name, lambda: _built(patterns)))
        self._stripped = spacing == "worldwide"

    def __call__(self, texts: pl.Series) -> tuple[np.ndarray, np.ndarray]:
        """(total,) uint32 ids of all texts, ascending and unique within a text; (n,) int64 how many each text
        has."""
        numbers: list[int] = []
        counts = np.zeros(len(texts), np.int64)
        number = itemgetter(2)  # of a match: (start, end, number of the pattern)
        find = self._automaton.find_overlapping
        texts = texts.str.strip_chars(BLANK) if self._stripped else texts
        for row, text in enumerate(spaced_texts(texts).cast(pl.Binary).to_list()):
            if text is not None:
                matches = find(text)
                counts[row] = len(matches)
                numbers += map(number, matches)
        pairs = np.repeat(np.arange(len(texts)), counts) << 32 | np.array(numbers, np.int64)
        pairs.sort()  # by text, then by id
        pairs = pairs[np.diff(pairs, prepend=-1) != 0]
        return self.ids[pairs & 0xFFFFFFFF], np.bincount(pairs >> 32, minlength=len(texts))


class Matchers:
    """Finds the entries of one list (`None`), or of the list of each text's language. `folded`: upper and
    lower case are the same."""

    def __init__(self, entries: Mapping[str | None, Sequence[str]], spacing: Spacing, folded: bool) -> None:
        self.folded = folded
        self._of = {}
        for language, names in entries.items():
            series = pl.Series(names, dtype=pl.String)
            self._of[language] = Matcher(series.str.to_lowercase().to_list() if folded else names, spacing)

    def __call__(self, texts: pl.Series, languages: pl.Series | None) -> tuple[np.ndarray, np.ndarray]:
        """(n,) texts and their languages, if there are several lists -> as Matcher."""
        texts = texts.str.to_lowercase() if self.folded else texts
        if languages is None:
            return self._of[None](texts)
        counts = np.zeros(len(texts), np.int64)
        found = [np.zeros((2, 0), np.int64)]
        for language, matcher in self._of.items():
            rows = (languages == language).fill_null(False).arg_true().to_numpy()
            ids, counts[rows] = matcher(texts[rows])
            found.append(np.stack([np.repeat(rows.astype(np.int64), counts[rows]), ids]))
        row, ids = np.concatenate(found, axis=1)
        return ids[np.argsort(row, kind="stable")], counts

    def unmatched(self, texts: pl.Series, languages: pl.Series | None) -> float:
        """The share of texts in which no entry occurs."""
        return float((self(texts, languages)[1] == 0).mean())


def lists(values: np.ndarray, counts: np.ndarray, present: pl.Series) -> pl.Series:
    """(n,) List(UInt32) of `counts[i]` values each; null if not present."""
    offsets = np.concatenate([[0], np.cumsum(counts)])
    arrays = pa.LargeListArray.from_arrays(
        pa.array(offsets, pa.int64()), pa.array(values, pa.uint32()), mask=(~present).to_arrow()
    )
    return pl.Series(arrays, dtype=pl.List(pl.UInt32))


def _built(patterns: list[str]) -> bytes:
    """A serialised automaton."""
    return Automaton([pattern.encode() for pattern in patterns]).serialize()
