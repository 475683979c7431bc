"""The poison laboratory: train CLIPs on poisoned pools, and measure which outlier detectors find the poison.

    python -m jobs.poison_lab WORK

`attacks` draws triggers and poisons a pool, `model` trains, `scores` runs the detectors, `report` writes the
page POISON_LAB.md. The operators that it measures are in `operators/outliers.py`.
"""
