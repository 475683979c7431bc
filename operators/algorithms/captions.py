"""The field of operators that read captions."""

from typing import Annotated

from pydantic import Field

from pipeline.operator import YOUNG, Operator, Texts


class ReadsCaptions(Operator):
    """Base of operators that read captions.

    text  the column of captions; such as best.text, the best of several (`recaption.BestCaption`)
    """

    text: Annotated[Texts, Field(min_length=1), YOUNG] = "text"
