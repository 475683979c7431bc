"""Deciding what to keep, from stored columns alone.

`cuts` turns shares into cut values. `decide` gives every rule's verdict on every row, `counts` counts the
verdicts, and `decision` is the result. `explain` shows the verdicts on one sample, with what `lookup`,
`members` and `evidence` find of it. `effects` compares the pool before and after, and `books` checks that the
counts balance. Nothing here runs a model or opens a shard.
"""
