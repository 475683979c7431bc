"""The middle of a batch's life: the operators of one stage add their columns to it."""
