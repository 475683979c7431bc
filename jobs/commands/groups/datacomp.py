"""`winnow datacomp`: helpers for DataComp's competitions beside the recipes in jobs/recipes/datacomp."""

import os
from pathlib import Path
from typing import Annotated

import typer

from jobs.commands.options import MOST_SEED, Overrides, Verbose
from jobs.terminal.console import put

MOST_FILES = 1_000_000  # of a made-up pool; DataComp's largest has 25,600

app = typer.Typer(no_args_is_help=True)


@app.callback()
def datacomp() -> None:
    """Make synthetic DataComp pools, and k-means centroids.

    Every baseline of DataComp is a recipe in jobs/recipes/datacomp. `pool` makes
    metadata folders to try them on; `centroids` makes the cluster centres that
    the image_based recipes read.
    """


@app.command()
def pool(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write.")],
    captions: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            help="Text file to draw captions from: one per line, or the last field of a TSV; may be .gz.",
        ),
    ],
    rows: Annotated[
        int, typer.Option(metavar="N", min=1, max=10**11, help="Samples in the pool.")
    ] = 12_800_000,
    per_file: Annotated[
        int, typer.Option(metavar="N", min=1, max=10**8, help="Samples per parquet file.")
    ] = 500_000,
    embeddings: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODEL",
            help="Also write CLIP embeddings (.npz) of this model: b32 or l14. Repeatable.",
        ),
    ] = None,
    width: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=2,
            max=8192,
            help="Numbers per embedding. Default: the model's, 512 for b32, 768 for l14.",
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(metavar="N", min=0, max=MOST_SEED, help="Another seed draws another pool.")
    ] = 0,
) -> None:
    """Make a synthetic metadata folder of any size.

    Its CLIP scores have CommonPool's distribution, so that recipes can be tried
    and timed at full size without a download. A pool that is there already is
    replaced once the new one is whole; anything else in the folder's way is an
    error.

    Examples:

      winnow datacomp pool metadata --captions captions.txt --rows 100000
      winnow datacomp pool metadata --captions captions.tsv.gz --embeddings l14
    """
    from jobs.datacomp.pool import WIDTHS, Plan, make_pool, read_captions
    from pipeline.errors import RecipeError
    from pipeline.plan.output_paths import check_output_path

    if unknown := set(embeddings or ()) - WIDTHS.keys():
        raise RecipeError(f"--embeddings must be one of {', '.join(WIDTHS)}, got {min(unknown)}")
    if not (texts := read_captions(captions)):
        raise RecipeError(f"--captions must be a file with captions, but {captions} has none")
    if (files := -(-rows // per_file)) > MOST_FILES:
        raise RecipeError(f"--per-file {per_file:,} makes {files:,} files, at most {MOST_FILES:,}: take more")
    check_output_path(str(out), "OUT", folder=True)
    plan = Plan(out, rows, per_file, tuple(embeddings or ()), width, seed)
    make_pool(plan, texts, min(os.cpu_count() or 1, len(plan.sizes())))
    put(out)


@app.command()
def centroids(
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE", help="The recipe whose kept samples are clustered.")
    ],
    out: Annotated[str, typer.Argument(metavar="OUT", help="Array to write (.npy): one row per centroid.")],
    set_: Overrides = None,
    embedding: Annotated[
        str, typer.Option(metavar="COLUMN", help="The column of embeddings to cluster.")
    ] = "datacomp.l14_image_embedding",
    clusters: Annotated[int, typer.Option(metavar="N", min=1, help="Centroids to make.")] = 100_000,
    sample: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            min=0,
            max=1,
            help="Cluster only this share of each shard, drawn with replacement. Default: every kept sample.",
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(metavar="N", min=0, max=MOST_SEED, help="Seed of the draw and of k-means.")
    ] = 0,
    verbose: Verbose = False,
) -> None:
    """Cluster the embeddings of the samples that a recipe keeps.

    k-means as DataComp runs it for its image_based baseline; on GPUs if the
    machine has any. All clustered embeddings must fit in memory.

    Example:

      winnow datacomp centroids jobs/recipes/datacomp/caption_filter.yaml \\
          centroids.npy --clusters 100000
    """
    from jobs.datacomp.centroids import Clustering, write_centroids
    from jobs.steps import open_session
    from jobs.terminal.console import remarks

    clustering = Clustering(embedding, clusters, sample, seed)
    written = write_centroids(open_session(recipe, set_, None), out, clustering)
    remarks.print(f"{written['clusters']:,} centroids of {written['rows']:,} embeddings")
    put(out)
