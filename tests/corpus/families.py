"""All families of kinds."""

from tests.corpus import images, json_members, recipes, tar_members, tars, texts, url_lists
from tests.corpus.kind import Kind, reads
from tests.corpus.pool import OddPool

FAMILIES: dict[str, list[Kind]] = {
    "tar": tars.KINDS,
    "tar members": tar_members.KINDS,
    "image": images.KINDS,
    "text": texts.KINDS,
    "json": json_members.KINDS,
    "recipe": recipes.KINDS,
    "URL list": url_lists.KINDS,
}


def _sound(pool: OddPool) -> None:
    pool.among([])


ALONE = Kind("sound shards alone", _sound, reads(0))
