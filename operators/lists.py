"""Lists of others: whether a pool holds what an evaluation set, another pool or a block list holds.

    digest: {use: duplicates.ImageDigest}
    pdq:    {use: pdq.PdqHash}
    clip:   {use: clip.ClipScore, model: ViT-B-32, pretrained: openai}
    same:   {use: lists.Listed, column: digest.digest, file: evaluation.parquet}
    like:   {use: lists.NearestHash, hash: pdq.hash, file: evaluation.parquet}
    block:  {use: lists.NearestHash, hash: pdq.hash, file: blocked_hashes.txt}
    about:  {use: normsim.NormSim, image_embedding: clip.image_embedding, proxy: evaluation.parquet,
             array: clip.image_embedding, p: inf}
    keep:
      same.listed:    {max: 0, missing: keep}
      like.distance:  {min: 41, missing: keep}
      block.distance: {min: 32, missing: keep}
      about.score:    {max: 0.95}

This is how a pool is decontaminated: with the same operators, `digest`, `pdq` and `clip`, make a recipe for
the evaluation set, or for an earlier version of the pool, and let it `export: {table: evaluation.parquet,
table_embedding: clip.image_embedding}`; the table has their columns. Both recipes are in
jobs/recipes/decontaminate. Copies by bytes are found by `lists.Listed`, those that look the same by
`lists.NearestHash`, those that mean the same by `normsim.NormSim` with p inf. A list of hashes is a text file
of 64 hexadecimal digits a line, the form in which block lists are exchanged.

Columns
    Listed       listed    Boolean  true: the value is in the list; null without a value
    NearestHash  distance  UInt16   bits that differ from the nearest hash of the list, 0 to 256, lower is
                                    more alike; 256 if the list is empty; null without a hash
                 match     String   that hash, 64 hexadecimal digits; null without a hash or a list
Errors: none of its own.
Source: PDQ (Facebook 2019, ThreatExchange): hashes within 31 bits are said to match.
Differs: nothing.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
import polars as pl
from pydantic import PrivateAttr

from operators.algorithms.files.value_lists import values_of
from operators.algorithms.hamming import BITS, bytes_of
from pipeline.operator import Bytes, Device, File, Role, Score
from pipeline.threads import faiss_threads

Values = Annotated[str, Role("column", lambda d: d in (pl.String, pl.Binary), "text or bytes")]


class Listed(Score):
    """Whether a sample's digest, uid, URL or caption is in a list.

    Use it to drop what an evaluation set holds, or what another pool holds already.

    column  texts or bytes, such as digest.digest, uid, url or text
    file    a text file with a value a line, bytes as hexadecimal digits in lower case; or a parquet file,
            such as `export.table` writes
    name    of the column of a parquet file; by default that of `column`

    Cost: very cheap: a look-up per row. Each worker holds the list, 100 to 150 bytes for each value.
    """

    column: Values
    file: File
    name: str = ""

    writes: ClassVar[Mapping[str, Any]] = {"listed": pl.Boolean}
    _values: Any = PrivateAttr(None)

    def setup(self, stats: Mapping[str, pl.DataFrame], device: Device) -> None:
        """Read the list."""
        self._values = values_of(self.file, self.name or self.column)

    def score(self, batch: pl.DataFrame) -> pl.DataFrame:
        """(n,) values -> (n,) whether they are listed."""
        values = batch[self.column]
        texts = values.bin.encode("hex") if values.dtype == pl.Binary else values
        found = [None if text is None else text in self._values for text in texts]
        return pl.DataFrame({"listed": pl.Series(found, dtype=pl.Boolean)})


class NearestHash(Score):
    """How many bits of a picture's hash differ from the nearest hash of a list.

    Use it to drop pictures of a block list, or those that look like pictures of an evaluation set.

    hash  hashes of 32 bytes, such as pdq.hash
    file  a text file of 64 hexadecimal digits a line, whose lines may go on after a comma or a blank; or a
          parquet file, such as `export.table` writes
    name  of the column of a parquet file; by default that of `hash`

    Cost: cheap; no image is read. All hashes of the list are compared: 370 million pairs per second on a CPU
    core (measured). Each worker holds the list, 32 bytes for each hash.
    """

    hash: Bytes
    file: File
    name: str = ""

    writes: ClassVar[Mapping[str, Any]] = {"distance": pl.UInt16, "match": pl.String}
    _list: Any = PrivateAttr(None)
    _index: Any = PrivateAttr(None)
    _threads: int = PrivateAttr(1)

    def setup(self, stats: Mapping[str, pl.DataFrame], device: Device) -> None:
        """Read the list. Raises ValueError for a line that does not begin with a hash."""
        import faiss

        digits = sorted({self._digits(value) for value in values_of(self.file, self.name or self.hash)})
        self._list = pl.Series(digits, dtype=pl.String)
        self._index = faiss.IndexBinaryFlat(BITS)
        self._index.add(bytes_of(self._list.str.decode("hex")))
        self._threads = device.threads

    def _digits(self, value: str) -> str:
        """The hash at the beginning of a line, in lower case."""
        digits = value.replace(",", " ").split(" ", 1)[0].lower()
        if len(digits) != BITS // 4 or not set(digits) <= set("0123456789abcdef"):
            raise ValueError(
                f"file: {self.file}: a line must begin with {BITS // 4} hexadecimal digits, got {value[:80]!r}"
            )
        return digits

    def score(self, batch: pl.DataFrame) -> pl.DataFrame:
        """(n,) hashes -> (n,) distances and matches."""
        present = batch[self.hash].is_not_null()
        distance, place = np.full(len(batch), BITS), np.full(len(batch), -1)
        at = present.arg_true().to_numpy()
        if len(at) and len(self._list):
            with faiss_threads(self._threads):
                distances, places = self._index.search(bytes_of(batch[self.hash].drop_nulls()), 1)
            distance[at], place[at] = distances[:, 0], places[:, 0]
        places = pl.Series(place)
        match = self._list.gather(places.zip_with(places >= 0, pl.repeat(None, len(batch), eager=True)))
        return pl.select(distance=pl.when(present).then(pl.Series(distance)).cast(pl.UInt16), match=match)
