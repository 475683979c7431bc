"""The field of operators that read captions."""

from pipeline.operator import Operator, Texts


class ReadsCaptions(Operator):
    """Base of operators that read captions.

    text  the column of captions; such as best.text, the best of several (`clip.BestCaption`)
    """

    text: Texts = "text"
