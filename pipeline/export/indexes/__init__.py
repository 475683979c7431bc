"""FAISS indexes of the kept samples' embeddings.

`index_exporter` is the export, `faiss_build` creates, trains and queries an index without a pool, and
`faiss_file` writes its file while it grows.
"""
