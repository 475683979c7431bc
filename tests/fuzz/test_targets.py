"""The targets of the fuzzers, over their seeds: whole, cut, and with a wrong byte."""

import contextlib

import pytest

from tests.fuzz.targets import TARGETS, Target

CASES = [(name, number) for name, target in TARGETS.items() for number in range(len(target.seeds))]


@pytest.mark.parametrize(("name", "number"), CASES)
def test_targets(name: str, number: int) -> None:
    target, seed = TARGETS[name], TARGETS[name].seeds[number]
    for part in range(8):
        _allowed(target, seed[: len(seed) * part // 8])
        _allowed(target, _garbled(seed, len(seed) * part // 8))
    _allowed(target, seed)


def _allowed(target: Target, data: bytes) -> None:
    """Run a target, which may raise what it documents and nothing else."""
    with contextlib.suppress(*target.expected):
        target.run(data)


def _garbled(data: bytes, at: int) -> bytes:
    """The same bytes, with all bits of one of them turned over."""
    return data[:at] + bytes(255 - byte for byte in data[at : at + 1]) + data[at + 1 :]
