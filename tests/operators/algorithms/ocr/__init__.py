"""Tests of reading text in pictures."""
