"""HTML out of the templates in `view/templates/`. Every value is escaped: captions, keys and reasons come
from strangers."""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import printable, shortened, unmistakable

if TYPE_CHECKING:
    import jinja2

TEMPLATES = Path(__file__).parents[1] / "templates"
MOST_CHARACTERS = 10_000  # of a text that is shown


def render(template: str, **values: Any) -> str:
    """A template with these values."""
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> "jinja2.Environment":
    """The templates, with the filters that they use."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"shown": shown, "value": value, "words": words, "share": share}
    return environment


def shown(text: object) -> str:
    """A text as people see it: what is not printable escaped, of a very long one the beginning."""
    return printable(shortened(str(text), MOST_CHARACTERS))


def value(thing: object) -> str:
    """A value of a column: floats with four digits, `-` for none."""
    if thing is None:
        return "-"
    return f"{thing:.4g}" if isinstance(thing, float) else shown(unmistakable(str(thing)))


def words(name: str) -> str:
    """The name of a field in words."""
    return shown(name.replace("_", " "))


def share(part: float, whole: float) -> str:
    """A part in percent, `-` of nothing."""
    return f"{part / whole:.1%}" if whole else "-"
