"""All families of kinds."""

from tests.corpus import arrays, checkpoints, hugging_face, images, parquet, recipes, tars, text_tables, texts
from tests.corpus.kind import Kind, reads
from tests.corpus.pool import OddPool

FAMILIES: dict[str, list[Kind]] = {
    "tar": tars.KINDS,
    "image": images.KINDS,
    "text": texts.KINDS,
    "text table": text_tables.KINDS,
    "array": arrays.KINDS,
    "checkpoint": checkpoints.KINDS,
    "hugging face": hugging_face.KINDS,
    "parquet": parquet.KINDS,
    "recipe": recipes.KINDS,
}


def _sound(pool: OddPool) -> None:
    pool.among([])


ALONE = Kind("sound shards alone", _sound, reads(0))
