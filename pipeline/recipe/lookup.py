"""From `use: clip.ClipScore` to an operator instance.

    entry = build("clip", {"use": "clip.ClipScore", "model": "ViT-B-32"}, plugins=[])

`use` is an import path under `operators/`; there is no registry. An operator that is not there must be in a
file, or a folder of files, that the recipe lists under `plugins:`. So a recipe cannot import arbitrary code.
"""

import hashlib
import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import PydanticUserError, ValidationError

from pipeline.errors import PLUGIN, RecipeError, brief, guess, is_fault, place, shortened, worded
from pipeline.operator import Operator, Stat, Writer
from pipeline.recipe.imports import own_imports
from pipeline.recipe.plugin_class import check_class
from pipeline.recipe.sections import Entry
from pipeline.recipe.wording import messages

NAME = re.compile(r"[a-z][a-z0-9_]{0,99}")  # of an operator in a recipe: it names folders
MOST_USE = 200  # characters of `use`
_USE = re.compile(r"[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)*\.[A-Za-z_][A-Za-z0-9_]*")  # module.Class
_IMPORTED: dict[str, str] = {}  # modules of the user's own that plugins import -> digest of the file
_BASES = "Score, ImageScore, BytesScore, Stat or Group"  # what an operator is derived from
_ROOT = "operators"  # the package that `use:` looks in


def build(name: str, spec: Any, plugins: Sequence[str]) -> Entry:
    """The operator that `compute.<name>` describes. Raises RecipeError."""
    if not NAME.fullmatch(name):
        raise RecipeError(
            f"compute.{shortened(name)}: a name must be lower-case letters, digits and _, starting with a letter, "
            "100 characters at most"
        )
    if not isinstance(spec, dict) or not isinstance(spec.get("use"), str):
        raise RecipeError(
            f"compute.{name} must be a mapping with a key `use` (as in use: clip.ClipScore), got {brief(spec)}"
        )
    if strange := [key for key in spec if not isinstance(key, str)]:
        raise RecipeError(f"compute.{name}: a key must be a text, got {brief(strange[0])}")
    use = spec["use"]
    cls, source = find(use, f"compute.{name}.use", plugins)
    try:
        operator = cls(**{key: value for key, value in spec.items() if key != "use"})
        if source is not None:
            check_class(operator, f"compute.{name}: {use}")
            operator.inputs()  # what a plugin made of it must not fail later, where nobody looks for it
    except ValidationError as error:
        raise RecipeError("\n".join(messages(error, cls, f"compute.{name}."))) from None
    except RecipeError:
        raise
    except BaseException as error:
        if source is None or not is_fault(error):
            raise
        raise RecipeError(f"compute.{name}: {use} fails: {_worded(error, cls.__module__)}") from error
    return Entry(use, operator, source)


def find(use: str, key: str, plugins: Sequence[str]) -> tuple[type[Operator], str | None]:
    """The operator class at an import path, and, for a plugin, the digest of its file. `key`: where the
    recipe says so, for messages. Raises RecipeError."""
    if len(use) > MOST_USE or not _USE.fullmatch(use):
        raise RecipeError(f"{key} must be an import path such as clip.ClipScore, got {brief(use)}")
    module_name, class_name = use.rsplit(".", 1)
    module, source = _plugin(module_name, plugins) or (_operators(module_name, use, key, plugins), None)
    cls = getattr(module, class_name, None)
    if not (isinstance(cls, type) and issubclass(cls, Operator) and cls.__module__ == module.__name__):
        offered = ", ".join(f"{module_name}.{c}" for c in _offered(module)) or "none"
        own = isinstance(cls, type) and cls.__module__ == module.__name__ and source is not None
        hint = f"; derive it from {_BASES} of pipeline.operator" if own else ""
        raise RecipeError(f"{key}: {use} is not an operator{hint}; {module_name} has: {offered}")
    if not issubclass(cls, Writer | Stat):
        raise RecipeError(f"{key}: {use} must be a Score, ImageScore, Stat or Group")
    return cls, source


def _offered(module: ModuleType) -> Iterator[str]:
    """The names of the operators that a module defines."""
    for name, value in vars(module).items():
        if (
            isinstance(value, type)
            and issubclass(value, Writer | Stat)
            and value.__module__ == module.__name__
        ):
            yield name


def _operators(module_name: str, use: str, key: str, plugins: Sequence[str]) -> ModuleType:
    """The module of that name under `operators`. Raises RecipeError."""
    full = f"{_ROOT}.{module_name}"
    try:
        exists = importlib.util.find_spec(full) is not None
    except ModuleNotFoundError:  # a package on the way does not exist
        exists = False
    if not exists:
        folder = Path(importlib.import_module(_ROOT).__path__[0])
        modules = sorted(p.stem for p in folder.glob("*.py") if p.stem != "__init__")
        hint = guess(module_name, modules) or f"; there are: {', '.join(modules)}"
        own = "" if plugins else "; for an operator of your own, `plugins: [FOLDER]` says where its file is"
        raise RecipeError(f"{key}: no module {module_name} under operators or plugins, for {use}{hint}{own}")
    return importlib.import_module(full)


def _plugin(module_name: str, plugins: Sequence[str]) -> tuple[ModuleType, str] | None:
    """The module of that name among the plugin files and folders, with the digest of its file; None if they
    do not have it. Raises RecipeError for a plugin that does not exist or fails."""
    for plugin in plugins:
        path = Path(os.path.expanduser(plugin))
        if not os.path.exists(path):  # Path.exists raises for a name that is too long
            raise RecipeError(
                f"plugins: {shortened(plugin)} does not exist; give a .py file or a folder of them"
            )
        if not path.is_dir() and not (path.is_file() and path.suffix == ".py"):
            raise RecipeError(f"plugins: {plugin} is not a .py file, nor a folder of them")
        file = path / f"{module_name}.py" if path.is_dir() else path
        if file.is_file() and file.stem == module_name:
            return _load_plugin(file)
    return None


def _load_plugin(file: Path) -> tuple[ModuleType, str]:
    """Import a file under a name that holds its digest, so that an edited file is another module; the digest
    covers the user's own modules that it imports, too. Raises RecipeError with the line if it fails, or ends
    the process."""
    try:
        source = file.read_bytes()
        imported = {name: _digest(path.read_bytes()) for name, path in own_imports(file).items()}
    except OSError as error:
        raise RecipeError(f"plugins: {file} cannot be read: {error.strerror}") from None
    _forget_edited(imported)
    digest = _digest(source + "".join(f"\n{one} {own}" for one, own in imported.items()).encode())
    name = f"{PLUGIN}{file.stem}_{digest}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except BaseException as error:
            if not is_fault(error):
                raise
            del sys.modules[name]
            why = _worded(error, name) + _advice(error, file)
            raise RecipeError(f"plugins: {file} fails on import: {why}") from error
    return sys.modules[name], digest


def _forget_edited(imported: Mapping[str, str]) -> None:
    """Let Python import a plugin's modules anew if one of them was edited since it was imported: a process
    may go on, such as that of a notebook. `imported`: name -> digest."""
    if any(_IMPORTED.get(name, digest) != digest for name, digest in imported.items()):
        for name in imported:
            sys.modules.pop(name, None)
            package, _, short = name.rpartition(".")
            vars(sys.modules.get(package, ModuleType(package))).pop(short, None)
    _IMPORTED.update(imported)


def _digest(data: bytes) -> str:
    """16 hex digits."""
    return hashlib.blake2b(data, digest_size=8).hexdigest()


def _worded(error: BaseException, module: str) -> str:
    """An error in a plugin on one line, with the last line of its file that led to it. One that ends the
    process would take the command with it."""
    if isinstance(error, SyntaxError):
        return f"line {error.lineno}: SyntaxError: {error.msg}" if error.lineno else worded(error)
    if isinstance(error, PydanticUserError) and error.code == "model-field-missing-annotation":
        field = error.message.partition("`")[2].partition("`")[0]  # such as threshold = 3
        return (
            f"{shortened(field)} has no type: a parameter needs one, as in `threshold: int = 3`, and a constant "
            "ClassVar[int], or a place outside of the class"
        )
    at = place(error, module)
    what = "it ends the process (exit)" if isinstance(error, SystemExit) else shortened(worded(error))
    return f"line {at[1]}: {what}" if at else what


def _advice(error: BaseException, file: Path) -> str:
    """What to do about a plugin that imports a file beside it, where Python does not look: its folder is in
    no path of the workers."""
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    if not missing or not file.with_name(f"{missing.partition('.')[0]}.py").is_file():
        return ""
    return (
        f"; a plugin is one file: put what it needs of {missing} into it, or install {missing} as a package"
    )
