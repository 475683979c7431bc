"""Lists of digests, hashes, uids or texts: a file with a value a line, or a parquet file with a column of
them.

    values_of("hashes.txt", "pdq.hash")     -> {"f8f8f0cee0f4a84f...", ...}
    values_of("eval.parquet", "pdq.hash")   -> those of that column

Values are texts; bytes become hexadecimal digits in lower case. Nothing in a file is executed.
"""

from collections.abc import Iterator

import polars as pl

from pipeline.assets import local_file, read_bytes
from pipeline.parquet import Parquet, garbled

ROWS = 65_536  # of a parquet file that are read at a time
BEGINNING = 4  # bytes of a parquet file that tell it


def values_of(address: str, column: str) -> set[str]:
    """The values of a file, a path or URL, each once. `column`: which one of a parquet file. In a file of
    lines, blank ones and those that begin with # are left out. Raises ValueError for a file that is neither,
    and what `pipeline.assets.local_file` raises."""
    path = local_file(address)
    with open(path, "rb") as file:
        if file.read(BEGINNING) == b"PAR1":
            return set().union(*_of_parquet(path, address, column))
    try:
        lines = read_bytes(address).decode().splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{address} must be a parquet file, or text in UTF-8 with a value a line") from error
    return {line.strip() for line in lines if line.strip() and not line.startswith("#")}


def _of_parquet(path: str, address: str, column: str) -> Iterator[set[str]]:
    """The values of a column, some rows at a time; nulls are left out."""
    with garbled(address), Parquet(path) as table:
        try:
            table.check([column])
        except ValueError as error:
            raise ValueError(f"{address}: {error}") from None
        for batch in table.batches([column], ROWS):
            values = pl.Series(batch.column(0)).drop_nulls().unique()
            if values.dtype not in (pl.String, pl.Binary):
                raise ValueError(f"{address}: {column} must hold texts or bytes, got {values.dtype}")
            yield set((values.bin.encode("hex") if values.dtype == pl.Binary else values).to_list())
