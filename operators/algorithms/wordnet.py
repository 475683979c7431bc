"""WordNet's first synset of a word, as NLTK 3.8 finds it, from WordNet's own files.

    offset = FirstSynset("/usr/share/wordnet")
    offset("Dogs")      -> 2084071, the offset of dog.n.01 in data.noun
    offset("qwerty")    -> None

Source: the files are WNDB's (wndb(5WN)): index.noun, noun.exc, and so on. NLTK's `wordnet.synsets(word)[0]`
tries nouns before verbs, adjectives and adverbs. In each it takes the word itself, or a form of it that is
listed, from the exceptions or by cutting endings; and of a form its most frequent sense.
"""

import os
from collections.abc import Iterator, Mapping

PARTS = ("noun", "verb", "adj", "adv")  # in NLTK's order
ENDINGS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "noun": (
        ("s", ""),
        ("ses", "s"),
        ("ves", "f"),
        ("xes", "x"),
        ("zes", "z"),
        ("ches", "ch"),
        ("shes", "sh"),
        ("men", "man"),
        ("ies", "y"),
    ),
    "verb": (
        ("s", ""),
        ("ies", "y"),
        ("es", "e"),
        ("es", ""),
        ("ed", "e"),
        ("ed", ""),
        ("ing", "e"),
        ("ing", ""),
    ),
    "adj": (("er", ""), ("est", ""), ("er", "e"), ("est", "e")),
    "adv": (),
}
REMEMBERED = 1 << 20  # words that are looked up once; most come again
HELP = "Debian's wordnet-base has it in /usr/share/wordnet, NLTK's download of `wordnet` in nltk_data/corpora/wordnet"


class FirstSynset:
    """Looks words up. Raises FileNotFoundError if a file is missing, ValueError if one is garbled."""

    def __init__(self, folder: str) -> None:
        folder = os.path.expanduser(folder)
        self._senses = {part: dict(_index(folder, part)) for part in PARTS}
        self._exceptions = {part: dict(_exceptions(folder, part)) for part in PARTS}
        self._known: dict[str, int | None] = {}

    def __call__(self, word: str) -> int | None:
        """The offset of the first synset; None if there is none."""
        word = word.lower()
        if word not in self._known:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            offsets = (self._senses[part][form] for part in PARTS for form in self._forms(word, part))
            self._known[word] = next(offsets, None)
        return self._known[word]

    def _forms(self, word: str, part: str) -> list[str]:
        """The forms of a word that this part of speech lists, in NLTK's order."""
        exceptions = self._exceptions[part]
        senses = self._senses[part]
        if word in exceptions:
            return [form for form in (word, *exceptions[word]) if form in senses]
        forms = [word]
        listed = [form for form in (word, *_shortened(forms, part)) if form in senses]
        while not listed and (forms := _shortened(forms, part)):
            listed = [form for form in forms if form in senses]
        return listed


def _shortened(forms: list[str], part: str) -> list[str]:
    """The forms with each ending that fits replaced."""
    endings = ENDINGS[part]
    return [form[: -len(old)] + new for form in forms for old, new in endings if form.endswith(old)]


def _index(folder: str, part: str) -> Iterator[tuple[str, int]]:
    """(lemma, offset of its first sense) of each line of an index."""
    for number, line in _lines(folder, f"index.{part}"):
        fields = line.split()
        try:
            lemma = fields[0]
            synsets = int(fields[2])
            pointers = int(fields[3])
            yield lemma, int(fields[4 + pointers + 2 : 4 + pointers + 2 + synsets][0])
        except (ValueError, IndexError):
            raise ValueError(
                f"{folder}/index.{part}, line {number} is not an entry of WNDB: {line[:40]!r}"
            ) from None


def _exceptions(folder: str, part: str) -> Iterator[tuple[str, list[str]]]:
    """(inflected word, its lemmas) of each line of a list of exceptions."""
    for _, line in _lines(folder, f"{part}.exc"):
        word, *lemmas = line.split()
        yield word, lemmas


def _lines(folder: str, name: str) -> Iterator[tuple[int, str]]:
    """(number, line) of a file, without its licence, whose lines begin with blanks."""
    path = os.path.join(folder, name)
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f"{path} does not exist: {folder} must be WordNet 3.0's database folder; {HELP}"
        )
    with open(path, encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, 1):
            if line.strip() and not line.startswith(" "):
                yield number, line
