"""Where exports are written: folders and single files whose earlier content stays until the new one is whole,
and what an export says of its inputs.

Winnow overwrites and removes only what a manifest of its own names.
"""
