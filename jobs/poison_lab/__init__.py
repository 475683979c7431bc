"""The backdoor laboratory: train poisoned CLIPs, and measure how well the outlier detectors find the poison.

python -m jobs.poison_lab WORK
"""
