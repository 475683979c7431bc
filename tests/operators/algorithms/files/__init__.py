"""Tests of files that strangers made."""
