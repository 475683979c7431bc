"""Tests of arithmetic on embeddings."""
