"""Outputs: paths that are taken, and factory strings of FAISS."""

import os

from tests.corpus.kind import Build, Kind, reads, refused
from tests.corpus.pool import OddPool


def outputs(**given: object) -> Build:
    """A sound sample, and these keys of `export`, in which {pool}, {store} and {out} stand for their
    paths."""

    def build(pool: OddPool) -> None:
        pool.sample()
        pool.exported = False
        paths = {"pool": pool.pool, "store": pool.store, "out": pool.out}
        pool.export |= {k: v.format(**paths) if isinstance(v, str) else v for k, v in given.items()}

    return build


def setting(key: str, value: str) -> Build:
    """A sound sample, and this value of a key."""

    def build(pool: OddPool) -> None:
        pool.sample()
        pool.exported = False
        pool.arguments = ["--set", f"{key}={value}"]

    return build


def taken(relative: str, content: bytes | None = None, link: str = "") -> Build:
    """A sound sample, and something where an output would be: a file with content, a FIFO without, or a
    link."""

    def build(pool: OddPool) -> None:
        pool.sample()
        pool.exported = False
        path = pool.out / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        if link:
            path.symlink_to(pool.folder / link)
        elif content is None:
            os.mkfifo(path)
        else:
            path.write_bytes(content)

    return build


def index(factory: str) -> Build:
    """An index with this factory string."""

    def build(pool: OddPool) -> None:
        pool.sample()
        pool.exported = False
        pool.compute["clip"] = {"use": "clip.ClipScore", "model": "ViT-B-32", "pretrained": "openai"}
        given = {"embedding": "clip.image_embedding", "path": "out/index", "factory": factory}
        pool.export |= {"index": given}

    return build


WRONG = "export.index.factory must be auto or a FAISS factory string"
KINDS = [
    Kind("the pool as output", outputs(shards="{pool}"), refused("export.shards")),
    Kind("the store as output", outputs(shards="{store}"), refused("export.shards")),
    Kind("a shard of the pool as table", outputs(table="{pool}/sound.parquet"), refused("export.table")),
    Kind("a folder of the pool as output", outputs(shards="{pool}/a"), refused("export.shards")),
    Kind("the same place twice", outputs(subset="{out}/table.parquet"), refused("export.subset")),
    Kind("a table among the tars", outputs(table="{out}/shards/table.parquet"), reads(1)),
    Kind("an empty path", setting("export.table", '""'), refused("export.table")),
    Kind("NUL in a path", outputs(table="{out}/a\0.parquet"), refused("export.table")),
    Kind("a path of 5,000 characters", outputs(table="{out}/" + "x" * 5000), refused("export.table")),
    Kind(
        "a path on the web", setting("export.table", "http://127.0.0.1:1/a.parquet"), refused("export.table")
    ),
    Kind("an unknown protocol", setting("export.table", "foo://a.parquet"), refused("export.table")),
    Kind(
        "escape sequences in a path",
        outputs(table="{out}/\x1b[31m.parquet"),
        refused("has control characters"),
    ),
    Kind("a path with markup", outputs(table="{out}/[b]a[/b].parquet"), reads(1)),
    Kind("a file where the tars go", taken("shards", b"mine"), refused("export.shards")),
    Kind("a FIFO where the tars go", taken("shards"), refused("export.shards")),
    Kind("a stranger's file among the tars", taken("shards/mine.txt", b"mine"), refused("mine.txt")),
    Kind("a FIFO where the table goes", taken("table.parquet"), refused("table.parquet")),
    Kind("a stranger's file where the table goes", taken("table.parquet", b"mine"), refused("table.parquet")),
    Kind("a folder where the table goes", taken("table.parquet/x", b"mine"), refused("table.parquet")),
    Kind("a link to the pool where the tars go", taken("shards", link="pool"), refused("export.shards")),
    Kind("a file above the outputs", taken("", b"mine"), refused("out")),
    Kind("macOS's note among the tars", taken("shards/.DS_Store", b"\0\0\0\1Bud1"), reads(1)),
    Kind("no samples in a tar", outputs(samples_per_shard=0), refused("export.samples_per_shard")),
    Kind("10^400 samples in a tar", outputs(samples_per_shard=10**400), refused("samples_per_shard")),
    Kind("factory HNSW0", index("HNSW0"), refused(WRONG)),
    Kind("factory IDMap,Flat", index("IDMap,Flat"), refused(WRONG)),
    Kind("factory of 100,000 characters", index("PCA8," * 20_000 + "Flat"), refused(WRONG)),
    Kind("factory with escape sequences", index("Flat\x1b[31m"), refused(WRONG)),
]
