"""What `winnow search` searches: the folder of an index, or the index of a recipe.

target = open_target("out/index", Choice())
target.index.about.embedding
target.weights()          # the CLIP that made the embeddings
target.session()          # the pool, for pictures and exports
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from operators.clip import ClipScore, ClipWeights
from operators.heads import DATACOMP
from pipeline.errors import RecipeError, WinnowError, shortened
from pipeline.export.indexes.index_exporter import pool_of
from pipeline.operator import Operator
from pipeline.plan.keys import cache_key
from pipeline.plan.session import Session
from pipeline.recipe.load import load
from pipeline.recipe.lookup import find
from pipeline.recipe.sections import Index, Recipe
from pipeline.schema import owner
from pipeline.search.index import SearchIndex
from pipeline.search.manifest import AGAIN, MissingIndexError
from pipeline.search.samples import has_changed, session_of
from pipeline.storage.digests import file_digest

RECIPES = (".yaml", ".yml")
WEIGHTS = ("model", "pretrained")
OTHERWISE = "--like searches without a model"


@dataclass(frozen=True)
class Choice:
    """Which index: `name`, if a recipe has several; `overrides` of the recipe; `trust`: see SearchIndex.
    `model`, `pretrained`: of embeddings that came with the pool, as clip.ClipScore has them; or where the
    files are that the index names at another path."""

    name: str | None = None
    overrides: Sequence[str] = ()
    trust: bool = False
    model: str = ""
    pretrained: str = ""


@dataclass(frozen=True)
class Target:
    """An opened index, and the recipe that it was found by, if it was."""

    index: SearchIndex
    recipe: Recipe | None
    choice: Choice = Choice()

    def session(self) -> Session:
        """The pool. Raises RecipeError."""
        return session_of(self.index) if self.recipe is None else Session.open(self.recipe)

    def session_if_there(self) -> Session | None:
        """The pool; None if it cannot be opened from here."""
        try:
            return self.session()
        except (WinnowError, OSError):
            return None

    def doubts(self, session: Session | None) -> list[str]:
        """What makes the index another one than it seems, a line each. `session`: the pool, if its samples
        are wanted."""
        path, lines = self.index.path, list[str]()
        if session is not None and has_changed(self.index, session):
            lines.append(
                f"the samples of the pool are not those that {path} was made from: a hit may be another picture "
                f"than the one that was compared; {AGAIN}"
            )
        if session is not None and self.recipe is None and (caption := self.index.about.caption):
            lines.append(
                f"{path} shows the captions of {caption}, which the pool does not have by itself: exported samples "
                "get the pool's own; name the recipe instead of the folder to export the others"
            )
        if self.recipe is not None and (own := session or self.session_if_there()) is not None:
            made, now = self.index.about.decision, own.decisions
            if made and made != now:
                lines.append(f"{path} is of {made}, and this recipe's is {now}: {AGAIN}")
        return lines

    @property
    def store(self) -> str | None:
        """Where the pool's results are; None if the index does not say."""
        if self.recipe is not None:
            return self.recipe.pool.store
        try:
            return str(pool_of({"pool": self.index.about.pool or {}}, self.index.path)["store"])
        except (KeyError, TypeError):
            return None

    def weights(self) -> ClipWeights:
        """The CLIP that made the embeddings. Raises RecipeError if that is not known, or is not the one that
        the recipe has now."""
        if self.choice.model or self.choice.pretrained:
            found = _named(self.index, self.choice)
        elif self.recipe is None:
            found = _of_index(self.index)
        else:
            found = _of_recipe(self.index, self.recipe)
        for field in WEIGHTS:
            value = getattr(found, field)
            is_here = os.path.isfile(os.path.expanduser(value))
            missing = "" if is_here or not value or "://" in value else found.why_missing(field, value)
            if why := missing or (found.why_broken(field, value) if is_here else ""):
                raise RecipeError(f"the {field} of {self.index.about.embedding}: {why}")
        for line in found.lacks():
            raise RecipeError(line)
        return found


def open_target(word: str, choice: Choice) -> Target:
    """The index in a folder, or that of a recipe. Raises RecipeError."""
    if not (word.endswith(RECIPES) or os.path.isfile(word)):
        if "://" not in word and not os.path.isdir(os.path.expanduser(word)):
            raise RecipeError(
                f"{word} is neither the folder of an index nor a recipe (.yaml): check the path"
            )
        if choice.name is not None or choice.overrides:
            raise RecipeError(f"--index and --set are of a recipe, and {word} is the folder of an index")
        return Target(SearchIndex.open(word, choice.trust), None, choice)
    recipe = load(word, choice.overrides)
    section = _chosen(recipe, word, choice.name)
    path = section.path
    try:
        index = SearchIndex.open(path, choice.trust, f"{section.stem}.json")
    except MissingIndexError:
        raise RecipeError(f"there is no index at {path} yet: run `winnow export {word}` first") from None
    if (made := index.about.embedding) != section.embedding:
        raise RecipeError(
            f"{path} is an index of {made}, and the recipe's is of {section.embedding}: run `winnow export {word}` "
            "again, or name the folder instead of the recipe"
        )
    return Target(index, recipe, choice)


def _chosen(recipe: Recipe, word: str, name: str | None) -> Index:
    """The index that is meant. Raises RecipeError."""
    indexes = {key.rpartition(".")[2]: index for key, index in recipe.export.every_index().items()}
    if not indexes:
        raise RecipeError(f"{word} has no export.index: {{embedding: clip.image_embedding, path: ...}}")
    if name is None and len(indexes) == 1:
        return next(iter(indexes.values()))
    if name not in indexes:
        got = "" if name is None else f", got {name}"
        raise RecipeError(f"--index must name one of {', '.join(indexes)}{got}")
    return indexes[name]


def _named(index: SearchIndex, choice: Choice) -> ClipWeights:
    """The model that the command names. Raises RecipeError if it is another than the index's own."""
    if index.about.operator:
        given = {"model": choice.model, "pretrained": choice.pretrained}
        return _of_index(index, {name: value for name, value in given.items() if value})
    if not choice.model:
        raise RecipeError("--pretrained: of which model? Add --model, such as ViT-L-14")
    try:
        return ClipScore(model=choice.model, pretrained=choice.pretrained)
    except ValidationError:
        raise RecipeError(
            f"--model {choice.model} needs --pretrained: a tag of the model, such as openai, or a checkpoint file"
        ) from None


def _of_recipe(index: SearchIndex, recipe: Recipe) -> ClipWeights:
    """The model of the recipe, if the index was made of the very column that the recipe has now."""
    embedding = index.about.embedding
    name = owner(embedding)
    if name is None or name not in recipe.compute:
        raise RecipeError(
            f"{index.path}: no operator of the recipe makes {embedding}; {_how_to_name(embedding)}; {OTHERWISE}"
        )
    now = Session(recipe, ()).folder(name)
    if now != index.about.columns:
        raise RecipeError(
            f"{index.path} was made from {index.about.columns}, and with the recipe's model {embedding} would be "
            f"{now}: the model does not match; run `winnow run` again, or name the recipe that made the index"
        )
    return _as_clip(recipe.operator(name), recipe.compute[name].use, index)


def _how_to_name(embedding: str) -> str:
    """How the model of an embedding that came with the pool is named. DataComp says which its own are."""
    known = (clip for prefix, clip in DATACOMP.items() if embedding.startswith(prefix))
    model, pretrained = next(known, ("NAME", "TAG or FILE"))
    return f"name it: --model {model} --pretrained {pretrained}"


def _of_index(index: SearchIndex, given: Mapping[str, str] | None = None) -> ClipWeights:
    """The model that the index names, if its files are those that made the index. `given`: where they are
    now, by field, if not where they were then."""
    made = index.about.operator
    if made is None:
        raise RecipeError(
            f"{index.path} does not say which model made {index.about.embedding}, as an earlier version wrote it: "
            f"name the recipe instead of the index's folder, or the model with --model; {OTHERWISE}"
        )
    if not made:
        raise RecipeError(
            f"{index.path}: {index.about.embedding} came with the pool, and the index does not say from which "
            f"model; {_how_to_name(index.about.embedding)}; {OTHERWISE}"
        )
    use = str(made.get("use"))
    cls, _ = find(use, f"{index.path}: operator.use", ())
    if not issubclass(cls, ClipWeights):
        raise _cannot(use, index)
    try:
        fields = {name: value for name, value in made.items() if name in cls.model_fields}
        operator = cls(**{**fields, **(given or {})})
    except ValueError as error:
        raise RecipeError(f"{index.path}: operator is garbled: {shortened(str(error))}") from None
    if given and operator.owners() and not index.trusted:
        raise RecipeError(
            f"--model: {index.path} knows what made its embeddings ({use}), and whether another path holds the "
            "same files cannot be told; leave --model out, or add --trust"
        )
    _check_key(operator, use, index)
    return _as_clip(operator, use, index)


def _check_key(operator: ClipWeights, use: str, index: SearchIndex) -> None:
    """Raises RecipeError if the operator, with the files that its fields name now, is not the one whose key
    is in the manifest. Of an operator that reads others' columns the key cannot be told."""
    if operator.owners() or index.trusted:
        return
    contents = {field: _content(paths) for field, paths in operator.fields_of("file")}
    for field, path in operator.fields_of("file"):
        absent = contents[field] is None and "://" not in path
        if absent and (why := operator.why_missing(field, path)):
            raise RecipeError(
                f"the {field} of {index.about.embedding}: {why}; relative paths start at the current folder: start "
                f"where the recipe ran, or say where the file is, as in --{field} PATH"
            )
    known = {field: digest for field, digest in contents.items() if digest is not None}
    if not index.about.columns.endswith(f"-{cache_key(use, operator, {}, known)}"):
        raise RecipeError(
            f"the model {operator.model} is not the one that made {index.path}: its files, or the pool's limits, "
            "are others; name the recipe instead of the index's folder, or add --trust"
        )


def _content(paths: str | Mapping[str, str]) -> Any:
    """As the key of an operator has it: the digest of a file, of several by name; None of another value."""
    if isinstance(paths, str):
        return file_digest(paths)
    return {name: file_digest(path) or path for name, path in paths.items()}


def _as_clip(operator: Operator, use: str, index: SearchIndex) -> ClipWeights:
    """An operator as one that has a CLIP. Raises RecipeError."""
    if not isinstance(operator, ClipWeights) or not operator.model:
        raise _cannot(use, index)
    return operator


def _cannot(use: str, index: SearchIndex) -> RecipeError:
    """What is said of embeddings of another operator."""
    return RecipeError(
        f"{index.path}: {index.about.embedding} is made by {use}, which has no text tower to ask; {OTHERWISE}"
    )
