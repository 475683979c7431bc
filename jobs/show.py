"""`winnow explain --show`: one sample as a picture, in a file or in the terminal."""

from collections.abc import Sequence

from jobs.commands.options import IN_TERMINAL
from jobs.terminal.console import say
from pipeline.decide.explain import Explanation
from pipeline.errors import RecipeError
from pipeline.plan.session import Session
from pipeline.view.cards import Cost


def check_show(session: Session, show: str) -> None:
    """Raises RecipeError if a picture cannot be shown there; before any work."""
    from jobs.terminal.pictures import check_terminal
    from pipeline.view.gallery.sample import check_sample

    if show == IN_TERMINAL:
        check_terminal()
    else:
        check_sample(session, show)


def show_sample(session: Session, explanations: Sequence[Explanation], show: str) -> None:
    """Draw a sample; of several only in the terminal, since a file holds one. Says what the picture cost."""
    from jobs.terminal.pictures import show as show_here
    from pipeline.view.gallery.sample import sample_picture, write_sample

    cost = Cost()
    if show == IN_TERMINAL:
        for explanation in explanations:
            show_here(sample_picture(session, explanation, cost))
    elif len(explanations) > 1:
        raise RecipeError(f"--show: {show} holds one sample, and {len(explanations)} were found; name one")
    elif explanations:
        write_sample(session, explanations[0], show, cost)
        say(f"picture: {show}")
    say(cost.told)
