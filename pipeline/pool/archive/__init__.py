"""The parts of reading a tar that most tars never need.

`extensions` reads long-name and pax headers, `links` follows hard and symbolic links, `packing` unpacks gzip,
bzip2, xz, zstd and lz4, `joining` puts the members of an unsorted tar together, and `read_through` finds the
files of samples that are no byte range of the file.
"""
