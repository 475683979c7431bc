"""Training FAISS quickly: product quantizers without the order of their codes."""

import faiss

from pipeline.export.indexes.faiss_build import inner


def leave_codes_unordered(index: faiss.Index) -> None:
    """Let `train` not put the codes of a product quantizer into an order in which they can be compared as
    bits (polysemous codes): FAISS spends seconds on it, and it changes neither sizes nor what is found."""
    behind = inner(index)
    if hasattr(behind, "do_polysemous_training"):
        behind.do_polysemous_training = False
