"""The numbers of a report: what every rule did, and what other bounds would do.

Nothing here draws. `gather.py` reads the pool once for any number of gatherers; each other module is one of
them, or turns what they gathered into a section of the report.
"""
