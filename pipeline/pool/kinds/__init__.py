"""The kinds of pool that Winnow reads, a file for each: tars, tables, tables of images, a folder of files, a
DataComp folder.

`kind` says what a kind must do, and `registry` lists the kinds. A new kind is a file here and a line there.
Nothing outside this folder asks which kind a pool has.
"""
