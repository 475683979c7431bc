"""Fuzzers: whatever bytes a parser of ours is given, it ends soon, in bounded memory, and raises nothing but
the errors that it documents."""
