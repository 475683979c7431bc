"""What commands do to a whole store, apart from runs: pack it, look at it, verify it, remove from it.

Every function takes folders and paths that `storage/layout.py` names; nothing else in the store is touched.
"""
