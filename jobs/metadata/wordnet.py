"""Names of WordNet's synsets, from a WNDB folder (Debian's wordnet-base, NLTK's corpora/wordnet).

**Source**: the file format is wndb(5WN); the name is NLTK's `Synset.name()`: the first word of the synset,
lower-cased, without an adjective's marker such as (ip), to which NLTK adds `.n.01`. MetaCLIP (arXiv
2309.16671) takes the part before the first `.` and turns `_` into a space.
"""

import re

from pipeline.errors import RecipeError
from pipeline.storage.folder import Folder

PARTS = ("data.noun", "data.verb", "data.adj", "data.adv")
LICENCE = "  "  # what the licence's lines at the head of each file begin with
_SYNSET = re.compile(r"\d{8} \d\d [nvasr] [0-9a-f]{2} (\S+) ")
_MARKER = re.compile(r"\((?:a|p|ip)\)$")


def synset_names(folder: str) -> list[str]:
    """Distinct names in code point order, on any fsspec path. Raises RecipeError."""
    wordnet = Folder(folder)
    return sorted({name for part in PARTS for name in _names(wordnet, part)} - {""})


def check_folder(folder: str) -> None:
    """Raises RecipeError where a file of a WNDB folder is missing."""
    for part in PARTS:
        if not Folder(folder).exists(part):
            raise RecipeError(
                f"--wordnet {folder} must be a WNDB folder with {', '.join(PARTS)}; it has no {part}"
            )


def _names(wordnet: Folder, part: str) -> set[str]:
    lines = wordnet.read(part).decode("utf-8", "replace").split("\n")
    where = f"--wordnet {wordnet.path(part)}"
    rows = [(n, line) for n, line in enumerate(lines, 1) if line and not line.startswith(LICENCE)]
    if not rows:
        raise RecipeError(f"{where} holds no synset")
    return {_name(line, f"{where}, line {number}") for number, line in rows}


def _name(line: str, where: str) -> str:
    found = _SYNSET.match(line)
    if found is None:
        raise RecipeError(
            f"{where} must be a synset of the WNDB format (offset, file, type, word count, words), got {line[:40]!r}"
        )
    return _MARKER.sub("", found[1].lower()).split(".")[0].replace("_", " ")
