"""The arguments and flags that commands share."""

from typing import Annotated

import typer

RecipePath = Annotated[str, typer.Argument(metavar="RECIPE", help="YAML file, local or any fsspec URL")]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="override one key, such as keep.clip.score.top=0.2; repeatable",
    ),
]
Limit = Annotated[int | None, typer.Option("--shards", min=1, help="the first N shards of the pool only")]
Local = Annotated[bool, typer.Option("--local", help="a plain loop in this process, no Ray")]
Json = Annotated[bool, typer.Option("--json", help="numbers as JSON on stdout, no tables")]
