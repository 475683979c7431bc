"""From a YAML file to a checked recipe.

`load` reads the file and applies `--set`; `sections` are the parts of a recipe; `lookup` turns `use:` into an
operator; `check` compares the parts with each other; `wording` makes pydantic's errors readable.
Raises RecipeError for every mistake, before any work begins.
"""
