"""What operators say of themselves, read out of their docstrings and fields.

`winnow operators` shows it, and `make docs` writes operators/README.md from it.
"""
