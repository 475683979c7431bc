"""What a packed file or a table may claim: bounds that are checked before anything is unpacked.

They are fields of a recipe's `limits` too, with the same defaults (recipe/limits.py); files that no recipe
names are read with the defaults, `USUAL`.
"""

from dataclasses import dataclass

MIB = 1 << 20


@dataclass(frozen=True)
class Bounds:
    """Bounds of one file.

    caption_bytes   of a caption; any other text of a table may have as many, and at least `LEAST_TEXT`
    table_columns   columns of a parquet file
    table_depth     of nested columns
    table_rows      rows of a parquet file, beyond which each must take a byte of it
    footer_bytes    of one text in a parquet file's footer, which has at most a 64th as many row groups
    unpacked_bytes  to which a packed column or array may unpack, however small it is
    unpacked_ratio  beyond these, to how many times its bytes
    array_width     numbers in a row of an npz
    """

    caption_bytes: int = MIB
    table_columns: int = 10_000
    table_depth: int = 64
    table_rows: int = 100_000
    footer_bytes: int = 64 * MIB  # the schema of a data set has some KB
    unpacked_bytes: int = 64 * MIB
    unpacked_ratio: int = 50  # embeddings hardly shrink, captions to a fifth
    array_width: int = 8192  # DataComp's embeddings have 512 and 768

    @property
    def text_bytes(self) -> int:
        """Of any text of a table."""
        return max(LEAST_TEXT, self.caption_bytes)

    def most_unpacked(self, size: int) -> int:
        """To how many bytes `size` packed bytes may unpack. A file that says more is not unpacked: a few KB
        can stand for many GB."""
        return max(self.unpacked_bytes, size * self.unpacked_ratio)


LEAST_TEXT = MIB  # a URL or a uid may have as many bytes, however short captions must be
USUAL = Bounds()
