"""A drawn pool with planted defects, and a tiny CLIP that was trained on such drawings.

The demo and the tests use them; nobody should train on them.
"""
