"""From a YAML file to a checked recipe. Every mistake is a RecipeError before any work begins.

`load` reads the file and applies `--set`. `sections` is the reference of a recipe: its sections and keys.
`lookup` turns `use:` into an operator. `check` compares the sections with each other. `wording` puts
pydantic's errors into plain words.
"""
