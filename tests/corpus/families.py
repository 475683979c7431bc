"""All families of kinds."""

from tests.corpus import (
    environments,
    exports,
    http_servers,
    images,
    recipes,
    s3_servers,
    tars,
    texts,
    url_lists,
)
from tests.corpus.kind import Kind, reads
from tests.corpus.pool import OddPool

FAMILIES: dict[str, list[Kind]] = {
    "tar": tars.KINDS,
    "image": images.KINDS,
    "text": texts.KINDS,
    "recipe": recipes.KINDS,
    "URL list": url_lists.KINDS,
    "HTTP server": http_servers.KINDS,
    "S3 server": s3_servers.KINDS,
    "environment": environments.KINDS,
    "export": exports.KINDS,
}


def _sound(pool: OddPool) -> None:
    pool.among([])


ALONE = Kind("sound shards alone", _sound, reads(0))
