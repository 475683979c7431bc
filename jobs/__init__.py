"""The command line, the recipes that ship with Winnow, and the sample pool."""
