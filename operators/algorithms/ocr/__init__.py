"""Lines of text in pictures: the networks of PP-OCRv6, how they are shown pictures, and masks of the text."""
