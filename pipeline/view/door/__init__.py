"""What `pipeline.view.notebook` is made of: samples as a LazyFrame, and objects that show themselves in a
notebook.

Start with `scan.py`.
"""
