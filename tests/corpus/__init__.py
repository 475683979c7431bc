"""Kinds of broken, odd and hostile input, one line each, and the laws that hold for all of them.

A family is a module with a list `KINDS`. `tests/corpus/test_corpus.py` walks every kind through plan, run,
keep, explain and export, and checks the laws. `python -m tests.corpus` shows what each kind leads to, how
long it takes and how much memory.
"""
