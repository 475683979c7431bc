"""Locks: one command at a time writes to a store, or to an export.

`lock` is what others use; `object_lock` does the same on storage that has no locks of its own.
"""
