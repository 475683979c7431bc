"""A DataComp metadata folder: `metadata` reads its parquet files, `typed_columns` gives their columns the
types that the rest of Winnow uses, and `npz` reads the embeddings beside them.
"""
