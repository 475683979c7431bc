"""`winnow search`: which index is searched (`target.py`), and what is asked of it (`ask.py`).

The search itself is `pipeline/search/`.
"""
