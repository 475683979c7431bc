"""The fields of operators, and what they read, in words."""

import re
from typing import Annotated, Any, Literal, get_args, get_origin

import polars as pl
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from pipeline.operator import BytesScore, ImageScore, Operator, Role

ROLES = {
    "column": "a column's name",
    "columns": "a column's name, or a list of them",
    "bounds": "columns' names, each with a bound",
    "table": "a Stat's name",
    "file": "a file",
    "files": "a file, or several by name",
}
KINDS = {str: "text", int: "whole number", float: "number", bool: "true or false"}
SIGNS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<", "multiple_of": "a multiple of"}
SAMPLES = {"text": "the caption", "width": "the image's size", "original_width": "the original image's size"}
UNSAID = ("height", "original_height", "shard", "row", "image_length")  # said with another, or bookkeeping


def kind_of(field: FieldInfo) -> str:
    """A field's type in words: `whole number >= 1`."""
    annotation = field.annotation
    if role := next((mark.kind for mark in field.metadata if isinstance(mark, Role)), ""):
        if role == "column" and get_origin(annotation) is dict:
            return ROLES["bounds"]
        return ROLES[role if annotation is str else f"{role}s"]
    if get_origin(annotation) is Literal:
        return "one of " + ", ".join(f"`{value}`" for value in get_args(annotation))
    if get_origin(annotation) is tuple:
        item = get_args(annotation)[0]
        return f"a list of {KINDS[get_args(item)[0] if get_origin(item) is Annotated else item]}s"
    if annotation not in KINDS:
        raise TypeError(f"no words for {annotation}")
    bounds = [
        f"{sign} {value:g}" if abs(value) < 10**6 else f"{sign} 2^{value.bit_length() - 1}"
        for mark in field.metadata
        for key, sign in SIGNS.items()
        if (value := getattr(mark, key, None)) is not None
    ]
    return f"{KINDS[annotation]} {', '.join(bounds)}".strip()


def default_of(field: FieldInfo) -> str:
    """Whether a field must be given, or its default."""
    if field.default is PydanticUndefined:
        return "required"
    if field.default in ("", None, ()):
        return "optional"
    if isinstance(field.default, tuple):
        return f"default `{list(field.default)}`"
    if isinstance(field.default, bool):
        return f"default `{str(field.default).lower()}`"
    return f"default `{field.default}`" if field.default != 2**31 - 1 else "no bound by default"


def reads(cls: type[Operator]) -> str:
    """The inputs of an operator in words, from its bases, needs and fields."""
    parts = ["pixels"] if issubclass(cls, ImageScore) else []
    parts += ["encoded images"] if issubclass(cls, BytesScore) else []
    parts += [SAMPLES.get(need, f"the {need}") for need in cls.needs if need not in UNSAID]
    for kind, noun in (("column", "column"), ("table", "Stat"), ("file", "file")):
        named = [
            f"`{name}`"
            for name, field in cls.model_fields.items()
            if any(isinstance(mark, Role) and mark.kind == kind for mark in field.metadata)
        ]
        parts += [f"the {noun}{'s' * (len(named) > 1)} named by {', '.join(named)}"] if named else []
    return "; ".join(parts)


def dtype_text(dtype: Any) -> str:
    """A polars type as the docstrings write it."""
    return re.sub(r"shape=\((\d+),\)", r"\1", str(dtype() if dtype is pl.Null else dtype))
