"""The names that open_clip knows: its models, and the tags of the weights that were published for each.

    why_not_model("ViT-L-14")              -> "": it can be used
    why_not_weights("ViT-L-14", "openia")  -> "open_clip does not know the tag openia for ViT-L-14 (did you
                                               mean openai?)"

They are read from the files of the installed package, which are not run: importing open_clip, and torch with
it, takes seconds, and `winnow plan` needs neither. Models are the files in `model_configs/`; tags are the
keys of the dictionaries in `pretrained.py`. If that file has another form than the one known here, tags are
not checked.
"""

import ast
import importlib.util
import json
from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.schema import like_path

REFERENCES = ("hf-hub:", "local-dir:")  # models that bring their own weights
LOCAL = "local-dir:"
CONFIG = "open_clip_config.json"  # in the folder of a `local-dir:` reference
TABLE = "_PRETRAINED"  # of pretrained.py: model -> tag -> where its weights are
QUICK = "quick_gelu"  # a tag with this argument also belongs to the model's variant of that suffix
QUICK_SUFFIX = "-quickgelu"
PACKAGE = "transformers"  # of Hugging Face: its tokenizers, and text towers of some models
TRANSFORMERS = (
    "{model} has a Hugging Face tokenizer, and the package transformers is not installed: "
    "pip install 'winnow-curation[transformers]'"
)
SIGLIP = "siglip"  # in the name of a model: without a tokenizer of its own, open_clip takes SigLIP's
LISTED = 40  # names that one line may hold


def why_not_model(model: str) -> str:
    """Why open_clip has no such model, for a value that is not a file; empty if it has. Names may have a
    slash for a dash (ViT-L/14)."""
    if model.startswith(LOCAL):
        config = Path(model.removeprefix(LOCAL)) / CONFIG
        return "" if config.is_file() else f"there is no file {config}"
    if model.startswith(REFERENCES) or _dashed(model) in models():
        return ""
    if model.endswith(".json"):
        return f"there is no file {model}"
    return f"open_clip does not know the model {model}{_guess(_dashed(model), models())}"


def local_files(model: str) -> dict[str, str]:
    """The files of a `local-dir:` reference, by name: config, weights and tokenizer; empty for other models
    and without the folder. Hidden files and descriptions (.md) are left out."""
    if not model.startswith(LOCAL):
        return {}
    try:
        paths = sorted(Path(model.removeprefix(LOCAL)).iterdir())
    except OSError:
        return {}
    named = [path for path in paths if not path.name.startswith(".") and path.suffix != ".md"]
    return {path.name: str(path) for path in named if path.is_file()}


def why_not_weights(model: str, pretrained: str) -> str:
    """Why there are no such weights for a model, for a value that is not a file; empty if there are, or if
    the model itself is the mistake. open_clip reads a tag with any case, and - for _."""
    name = Path(model).stem if model.endswith(".json") else _dashed(model)
    if model.startswith(REFERENCES) or not tags():
        return ""
    known = tags().get(name, ())
    if pretrained.lower().replace("-", "_") in known:
        return ""
    if like_path(pretrained):
        return f"there is no file {pretrained}"
    if name not in models() and not model.endswith(".json"):
        return ""
    if not known:
        return f"open_clip has no tags for {name}, got {pretrained}: give a checkpoint file"
    return f"open_clip does not know the tag {pretrained} for {name}{_guess(pretrained, known)}"


def why_no_tokenizer(model: str) -> str:
    """Why captions cannot be tokenized for a model: it needs the package transformers, and that is not
    installed. Empty if they can, or if the model's config is not on this machine."""
    text = _text_config(model)
    needed = (
        text.get("hf_tokenizer_name")
        or text.get("hf_model_name")
        or (text and not model.startswith(REFERENCES) and SIGLIP in Path(model).stem.lower())
    )
    if not needed or importlib.util.find_spec(PACKAGE) is not None:
        return ""
    return TRANSFORMERS.format(model=model)


def _text_config(model: str) -> dict[str, Any]:
    """The section `text_cfg` of a model's config; empty if it cannot be read here."""
    if model.startswith(LOCAL):
        path = Path(model.removeprefix(LOCAL)) / CONFIG
    elif model.endswith(".json"):
        path = Path(model)
    else:
        path = _package() / "model_configs" / f"{_dashed(model)}.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        text = (config["model_cfg"] if model.startswith(LOCAL) else config)["text_cfg"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return {}
    return text if isinstance(text, dict) else {}


@cache
def models() -> frozenset[str]:
    """The models that the installed open_clip knows."""
    return frozenset(path.stem for path in (_package() / "model_configs").glob("*.json"))


@cache
def tags() -> Mapping[str, Collection[str]]:
    """Model -> its tags, of the installed open_clip; empty if its file has an unknown form."""
    tree = ast.parse((_package() / "pretrained.py").read_text(encoding="utf-8"))
    values = {
        target.id: statement.value
        for statement in tree.body
        if isinstance(statement, ast.Assign)
        for target in statement.targets
        if isinstance(target, ast.Name)
    }
    found: dict[str, Collection[str]] = {}
    for model, table in _items(values.get(TABLE)):
        entries = dict(_items(values.get(table.id) if isinstance(table, ast.Name) else table))
        found[model] = tuple(entries)
        if quick := tuple(tag for tag, entry in entries.items() if _is_quick(entry)):
            found[model + QUICK_SUFFIX] = quick
    return found


def _items(node: ast.expr | None) -> Iterator[tuple[str, ast.expr]]:
    """(key, value) of a dictionary in source, written as {...} or dict(...)."""
    if isinstance(node, ast.Dict):
        for key, value in zip(node.keys, node.values, strict=True):
            if isinstance(key, ast.Constant) and isinstance(key.value, str):
                yield key.value, value
    elif isinstance(node, ast.Call):
        for keyword in node.keywords:
            if keyword.arg:
                yield keyword.arg, keyword.value


def _is_quick(entry: ast.expr) -> bool:
    """Whether the entry of a tag says `quick_gelu=True`."""
    said = dict(_items(entry)).get(QUICK)
    return isinstance(said, ast.Constant) and bool(said.value)


def _package() -> Path:
    """The folder of the installed open_clip, which is not imported."""
    spec = importlib.util.find_spec("open_clip")
    assert spec is not None, "a dependency of this package"
    assert spec.origin is not None
    return Path(spec.origin).parent


def _dashed(model: str) -> str:
    """A model's name as open_clip looks it up."""
    return model.replace("/", "-")


def _guess(name: str, known: Collection[str]) -> str:
    """` (did you mean ...?)`; without a name that is close, those that there are, unless they are many."""
    lower = {one.lower(): one for one in sorted(known)}
    if close := get_close_matches(name.lower(), lower, 1):
        return f" (did you mean {lower[close[0]]}?)"
    return f"; there are: {', '.join(known)}" if len(known) <= LISTED else " (see open_clip.list_models())"
