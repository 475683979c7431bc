"""A WordNet of a few words, in WordNet's own file format, for tests of what reads it."""

from pathlib import Path

INDEX = {  # a WordNet of a few words: lemma, place in the file, offsets by frequency
    "noun": "dog n 2 1 @ 2 2 02084071 10114209\nman n 1 0 1 1 10287213\nsee n 1 0 1 0 08645963\n"
    "beach n 1 2 @ ~ 1 1 09217230\nglass n 1 0 1 1 03438257\n",
    "verb": "dog v 1 0 1 0 02001858\nsee v 2 0 2 2 02129289 00591519\nrun v 1 0 1 1 01926311\n",
    "adj": "red a 1 0 1 1 00381097\nfine a 1 0 1 1 02080937\n",
    "adv": "fast r 1 0 1 1 00086000\n",
}
EXCEPTIONS = {"noun": "geese goose\nmen man\n", "verb": "ran run\nsaw see\n", "adj": "", "adv": "best well\n"}


def write_wordnet(folder: Path) -> Path:
    """A WNDB folder: licence lines, index and exceptions."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, lines in INDEX.items():
        (folder / f"index.{part}").write_text(f"  1 This software and database is free\n{lines}")
        (folder / f"{part}.exc").write_text(EXCEPTIONS[part])
    return folder
