"""Pydantic's errors in plain words: the key of the recipe, its value, and what is allowed.

keep.clip.score.top must be in (0, 1], got 30 (did you mean 0.30?)
"""

import re
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ValidationError

from pipeline.errors import brief, guess, shortened

_PLAIN = {  # pydantic's words -> ours
    "Input should be": "must be",
    "String should": "must",
    "a valid dictionary": "a mapping",
    "a valid tuple": "a list",
    "Keys should be strings": "is not a text: quote it",
    "Unable to parse input string as an integer, exceeded maximum size": "must be a smaller whole number",
    "greater than or equal to": ">=",
    "less than or equal to": "<=",
    "greater than": ">",
    "less than": "<",
}
LARGE = 1e9  # bounds below it are repeated in an example
_WORDS = re.compile("|".join(_PLAIN))
_CLASS = re.compile(r" or instance of \w+")


def messages(error: ValidationError, model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """One line per mistake. `model` is the class that was validated; `prefix` is where in the recipe it
    is."""
    for item in error.errors(include_url=False):
        key = prefix + ".".join(str(part) for part in item["loc"] if part != "function-after")
        yield _message(shortened(key.rstrip(".")), item, model)


def _message(key: str, item: Any, model: type[BaseModel]) -> str:
    """One of pydantic's errors in one line."""
    value = item["input"]
    kind = item["type"]
    if kind == "missing":
        return f"{key} is missing"
    if kind == "extra_forbidden":
        allowed = _fields_at(model, item["loc"][:-1])
        hint = guess(str(item["loc"][-1]), allowed)
        return f"{key} is not a known key{hint}; allowed: {', '.join(allowed) or 'none'}"
    if kind == "value_error":
        return f"{key} {item['ctx']['error']}"
    share = key.endswith((".top", ".bottom")) and kind in ("greater_than", "less_than_equal")
    words = _CLASS.sub("", item["msg"])
    allowed_text = "must be in (0, 1]" if share else _WORDS.sub(lambda m: _PLAIN[m[0]], words)
    bare = allowed_text.endswith(" a mapping") and key.startswith("keep.") and type(value) in (int, float)
    bare = bare and abs(value) < LARGE
    example = f", such as {{min: {value}}}" if bare else ""
    return f"{key} {allowed_text}{example}, got {brief(value)}{_guess(value, share)}"


def _guess(value: Any, share: bool) -> str:
    """A hint at a frequent mistake: 30 for 0.30, and a bare no, on, off or yes, which YAML reads as a
    Boolean."""
    if share and isinstance(value, int | float) and 1 < value <= 100:
        return f" (did you mean {value / 100:.2f}?)"
    return " (a word such as no or on must be quoted)" if isinstance(value, bool) else ""


def _fields_at(model: type[BaseModel], loc: tuple[Any, ...]) -> list[str]:
    """The fields of the model that `loc` leads to, through the annotations of `model`."""
    current: Any = model
    for part in loc:
        if isinstance(current, type) and issubclass(current, BaseModel) and part in current.model_fields:
            current = current.model_fields[part].annotation
        for candidate in getattr(current, "__args__", ()):
            if isinstance(candidate, type) and issubclass(candidate, BaseModel):
                current = candidate
    is_model = isinstance(current, type) and issubclass(current, BaseModel)
    return list(current.model_fields) if is_model else []
