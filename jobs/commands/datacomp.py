"""`winnow datacomp`: what DataComp's competitions need besides recipes (jobs/recipes/datacomp)."""

import os
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Made-up metadata folders, and centroids for image_based.", no_args_is_help=True)


@app.command()
def pool(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="folder to write")],
    captions: Annotated[
        Path, typer.Option(help="a caption a line, or a TSV whose last field it is; .gz too")
    ],
    rows: Annotated[int, typer.Option(min=1)] = 12_800_000,
    per_file: Annotated[int, typer.Option(min=1)] = 500_000,
    embeddings: Annotated[list[str] | None, typer.Option(help="b32, l14 or both: npz files, too")] = None,
    width: Annotated[int | None, typer.Option(min=2, help="numbers of an embedding, for small pools")] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """A metadata folder made up at any size, with CommonPool's distribution of scores."""
    from jobs.datacomp.pool import WIDTHS, Plan, make_pool, read_captions
    from pipeline.errors import RecipeError

    if unknown := set(embeddings or ()) - WIDTHS.keys():
        raise RecipeError(f"--embeddings must be of {', '.join(WIDTHS)}, got {min(unknown)}")
    if not (texts := read_captions(captions)):
        raise RecipeError(f"--captions {captions} holds none")
    plan = Plan(out, rows, per_file, tuple(embeddings or ()), width, seed)
    make_pool(plan, texts, min(os.cpu_count() or 1, len(plan.sizes())))
    print(out)


@app.command()
def centroids(
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE", help="what to cluster, such as caption_filter.yaml")
    ],
    out: Annotated[str, typer.Argument(metavar="OUT", help=".npy to write")],
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="override one key")
    ] = None,
    embedding: Annotated[str, typer.Option(help="the column")] = "datacomp.l14_image_embedding",
    clusters: Annotated[int, typer.Option(min=1)] = 100_000,
    sample: Annotated[
        float | None, typer.Option(min=0, max=1, help="draw this share of each shard, with replacement")
    ] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Cluster centres of the samples that a recipe keeps, by k-means as DataComp runs it; on GPUs if there are."""
    from jobs.datacomp.centroids import Clustering, write_centroids
    from jobs.steps import open_session
    from jobs.terminal.tables import console

    found = write_centroids(
        open_session(recipe, set_, None), out, Clustering(embedding, clusters, sample, seed)
    )
    console.print(f"{found['clusters']:,} centroids of {found['rows']:,} embeddings")
    print(out)
