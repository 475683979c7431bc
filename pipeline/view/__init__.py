"""What a decision did, in numbers and pictures: the report, galleries, comparisons.

rows.py reads the samples with their verdicts. All other modules build on it.
"""
