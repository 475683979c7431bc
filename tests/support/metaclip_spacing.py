"""MetaCLIP's spacing of captions by its definition: what the fast implementation is compared with."""


def spaced(text: str) -> str:
    """A caption as MetaCLIP searches it, word for word after the definition."""
    text = f" {text} "
    for mark in (",", ".", ";", ":", "?", "!", "`"):
        text = text.replace(mark, f" {mark} ")
    for blank in ("\t", "\n", "\r"):
        text = text.replace(blank, " ")
    return text
