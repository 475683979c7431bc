"""The methods, one file per family. They know polars and their models, and nothing of Ray or storage."""
