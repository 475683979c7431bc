"""Which files have tests that start Ray, told by their text: pytest-xdist shares tests out before it knows
more of them than their names."""

from functools import cache
from pathlib import Path

WORDS = ("mark.ray", "local_ray")  # the marker, and the fixture of the tests' own Ray


@cache
def starts_ray(file: Path) -> bool:
    """Whether some test of a file says that it starts Ray."""
    text = file.read_text(encoding="utf-8")
    return any(word in text for word in WORDS)
