"""The HTML page of a report: one file with its style, its script and its data, that asks no server for
anything."""
