"""Which files the paths and patterns of a pool stand for.

`patterns` takes a pattern apart, `tree` shows folders on local and other storage alike, `search` finds what a
folder or glob stands for, `exact` looks up paths that are given as they are, `names` names shards, and
`reasons` has the words for everything that is passed over.
"""
