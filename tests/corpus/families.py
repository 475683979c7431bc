"""All families of kinds."""

from tests.corpus import (
    arrays,
    checkpoints,
    environments,
    exports,
    http_servers,
    hugging_face,
    images,
    json_members,
    parquet,
    recipes,
    s3_servers,
    tar_members,
    tars,
    text_tables,
    texts,
    url_lists,
)
from tests.corpus.kind import Kind, reads
from tests.corpus.pool import OddPool

FAMILIES: dict[str, list[Kind]] = {
    "tar": tars.KINDS,
    "tar members": tar_members.KINDS,
    "image": images.KINDS,
    "text": texts.KINDS,
    "json": json_members.KINDS,
    "text table": text_tables.KINDS,
    "array": arrays.KINDS,
    "checkpoint": checkpoints.KINDS,
    "hugging face": hugging_face.KINDS,
    "parquet": parquet.KINDS,
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
