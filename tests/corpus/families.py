"""All families of kinds."""

from tests.corpus import images, recipes, tars, texts, url_lists
from tests.corpus.kind import Kind, reads
from tests.corpus.pool import OddPool

FAMILIES: dict[str, list[Kind]] = {
    "tar": tars.KINDS,
    "image": images.KINDS,
    "text": texts.KINDS,
    "recipe": recipes.KINDS,
    "URL list": url_lists.KINDS,
}


def _sound(pool: OddPool) -> None:
    pool.among([])


ALONE = Kind("sound shards alone", _sound, reads(0))
