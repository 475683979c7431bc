"""Pydantic's errors in plain words."""

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.recipe.wording import messages


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid")
    size: int


class Whole(BaseModel):
    model_config = ConfigDict(extra="forbid")
    part: Part
    parts: dict[str, Part] = {}


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({}, ["part is missing"]),
        ({"part": {"size": "x"}},
         ["part.size must be a valid integer, unable to parse string as an integer, got 'x'"]),
        ({"part": {"size": 1, "sise": 2}},
         ["part.sise is not a known key (did you mean size?); allowed: size"]),
        ({"part": {"size": 1}, "parts": {"a.b": {"q": 1}}},
         ["parts.a.b.size is missing", "parts.a.b.q is not a known key; allowed: size"]),
        ({"part": {"size": 1}, "zzz": 1}, ["zzz is not a known key; allowed: part, parts"]),
    ],
)  # fmt: skip
def test_messages(data, expected):
    with pytest.raises(ValidationError) as raised:
        Whole.model_validate(data)
    assert list(messages(raised.value, Whole)) == expected
