"""The arithmetic of the operators, free of columns and batches: what a paper states, tested against it."""
