"""Tests of the operators' arithmetic."""
