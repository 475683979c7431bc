"""Names of WordNet's synsets, from a WNDB folder (Debian's wordnet-base, NLTK's corpora/wordnet).

**Source**: the file format is wndb(5WN). The name is that of NLTK's `Synset.name()`, such as `hot_dog.n.01`:
the first word of the synset in lower case, without an adjective's marker such as (ip). MetaCLIP (arXiv
2309.16671) takes the part before the first `.` and turns `_` into a space.
"""

import re

from pipeline.errors import RecipeError
from pipeline.storage.folder import Folder

PARTS = ("data.noun", "data.verb", "data.adj", "data.adv")
LICENCE = "  "  # the licence at the head of each file is indented by this
_SYNSET = re.compile(r"\d{8} \d\d [nvasr] [0-9a-f]{2} (\S+) ")
_MARKER = re.compile(r"\((?:a|p|ip)\)$")


def synset_names(folder: str) -> list[str]:
    """Distinct names in code point order, from a folder on any fsspec path. Raises RecipeError."""
    wordnet = Folder(folder)
    return sorted({name for part in PARTS for name in _names(wordnet, part)} - {""})


def check_folder(folder: str) -> None:
    """Raises RecipeError if a file of a WNDB folder is missing."""
    for part in PARTS:
        if not Folder(folder).exists(part):
            raise RecipeError(
                f"--wordnet {folder} must be a WNDB folder with {', '.join(PARTS)}; {part} is missing"
            )


def _names(wordnet: Folder, part: str) -> set[str]:
    """The names in one file."""
    lines = wordnet.read(part).decode("utf-8", "replace").split("\n")
    where = f"--wordnet {wordnet.path(part)}"
    rows = [(n, line) for n, line in enumerate(lines, 1) if line and not line.startswith(LICENCE)]
    if not rows:
        raise RecipeError(f"{where} has no synset")
    return {_name(line, f"{where}, line {number}") for number, line in rows}


def _name(line: str, where: str) -> str:
    """The name of the synset on a line."""
    match = _SYNSET.match(line)
    if match is None:
        raise RecipeError(
            f"{where} must be a synset of the WNDB format (offset, file, type, word count, words), "
            f"got {line[:40]!r}"
        )
    return _MARKER.sub("", match[1].lower()).split(".")[0].replace("_", " ")
