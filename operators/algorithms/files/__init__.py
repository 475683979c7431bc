"""Files that strangers made: read within bounds, and nothing in them is executed."""
