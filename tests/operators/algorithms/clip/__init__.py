"""Tests of what a CLIP is made of."""
