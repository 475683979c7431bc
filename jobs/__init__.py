"""What people run: the command line, the recipes, the sample pool."""
