"""The arithmetic of the operators, free of columns and batches: what a paper states, tested against it.

    clip/        a CLIP of open_clip on one device: its files, tokens, pictures and towers
    ocr/         lines of text in pictures, and masks of them
    files/       files that strangers made, read within bounds; nothing in them is executed
    embeddings/  vectors: neighbours, outliers, clusters, choices among them, queries

Beside the folders: captions and lists of words, hashes, groups of rows, and what many operators share.
"""
