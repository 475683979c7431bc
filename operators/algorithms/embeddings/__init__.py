"""Arithmetic on embeddings: neighbours, outliers, clusters, choices among them."""
