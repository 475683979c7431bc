"""FAISS indexes of the kept samples' embeddings.

`index_exporter` is the export, `index_build` the order of its work, `index_training` and `index_tasks` the
work of the tasks, `recall` how exact an index is, `index_files` the names of the files. `faiss_build`
creates, trains and queries an index without a pool, and `faiss_file` writes its file while it grows, or joins
it from parts.
"""
