"""Tables that fit the screen. A row's name is never split, and a number is never cut, however narrow it is.

    rows = FittedTable("Funnel", ["rule", "bound", "passes", "fails"], text=2)
    rows.add_row("caption.words", ">= 3", "1,950", "50")
    console.print(rows)

If the cells do not fit side by side, texts and headings are folded between words. If that is not enough, each
row becomes a block: its texts on one line, its numbers with their headings below. The columns of a `matrix`,
whose numbers are compared along a row, are shown some at a time instead, each time with the rows' names.
"""

from collections.abc import Iterator, Sequence

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from jobs.terminal.console import ConsoleOptions, as_text

GAP = 2  # columns of the screen between two cells
EDGES = 2  # columns of the screen beside a table
FOLDED = 20  # a text that is not a row's name may be folded to this width within words, too
INDENT = 2  # of the numbers of a block


class FittedTable:
    """A table for `Console.print`.

    title    the line above it, "" for none
    columns  its headings
    text     how many of the first columns hold text; the others hold numbers
    names    how many of the first columns name the row: they are not split within words
    matrix   whether too many columns are shown some at a time
    """

    def __init__(
        self, title: str, columns: Sequence[Text], text: int = 1, names: int = 1, matrix: bool = False
    ) -> None:
        self.title = title
        self.columns = list(columns)
        self.text = text
        self.names = names
        self.matrix = matrix
        self.rows: list[list[Text]] = []

    def add_row(self, *cells: str | Text) -> None:
        """Add a row: a cell per column."""
        self.rows.append([cell if isinstance(cell, Text) else as_text(cell) for cell in cells])

    def __rich_console__(self, _: object, options: ConsoleOptions) -> Iterator[Text | Table]:
        """What rich shows of it, in the best layout for the width."""
        if self.title:
            yield Text(self.title, "table.title")
        room = options.max_width - EDGES
        everything = range(len(self.columns))
        if (widths := self._widths(everything, room)) is not None:
            yield self._side_by_side(everything, widths)
        elif self.matrix and (parts := self._parts(room)):
            for part in parts:
                yield self._side_by_side(part, self._widths(part, room) or [])
        else:
            yield from self._blocks(room)

    # --- side by side ------------------------------------------------------------------------------

    def _cells(self, column: int) -> list[Text]:
        """The cells of a column, without its heading."""
        return [row[column] for row in self.rows if column < len(row)]

    def _natural(self, column: int) -> int:
        """The width at which nothing of a column is folded."""
        return max(map(_width, [self.columns[column], *self._cells(column)]))

    def _least(self, column: int) -> int:
        """The smallest width at which a column is readable."""
        words = max(map(_longest_word, [self.columns[column], *self._cells(column)]))
        if column < self.names:
            return words
        if column < self.text:
            return min(words, FOLDED)
        return max(_longest_word(self.columns[column]), *map(_width, self._cells(column)), 0)

    def _widths(self, columns: Sequence[int], room: int) -> list[int] | None:
        """The width of each of these columns, or None if they do not fit side by side."""
        room -= GAP * (len(columns) - 1)
        natural = {column: self._natural(column) for column in columns}
        if sum(natural.values()) <= room:
            return list(natural.values())
        widths = {column: self._least(column) for column in columns}
        spare = room - sum(widths.values())
        if spare < 0:
            return None
        wanting = sorted(columns, key=lambda column: (column >= self.text, natural[column] - widths[column]))
        texts = sum(column < self.text for column in columns)
        for number, column in enumerate(wanting):
            share = spare // max(1, texts - number)
            more = max(0, min(natural[column] - widths[column], share))
            widths[column] += more
            spare -= more
        return list(widths.values())

    def _side_by_side(self, columns: Sequence[int], widths: Sequence[int]) -> Table:
        """These columns as a table."""
        table = Table(header_style="bold", box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
        for column, width in zip(columns, widths, strict=True):
            justify = "left" if column < self.text else "right"
            table.add_column(self.columns[column], width=max(width, 1), justify=justify, overflow="fold")  # type: ignore[arg-type]
        for row in self.rows:
            table.add_row(*(row[column] for column in columns))
        return table

    def _parts(self, room: int) -> list[list[int]]:
        """The columns some at a time, each time after the texts; empty if not even one fits beside them."""
        texts = list(range(self.text))
        parts = list[list[int]]()
        for column in range(self.text, len(self.columns)):
            if parts and self._widths([*parts[-1], column], room) is not None:
                parts[-1].append(column)
            elif self._widths([*texts, column], room) is not None:
                parts.append([*texts, column])
            else:
                return []
        return parts

    # --- blocks ------------------------------------------------------------------------------------

    def _blocks(self, room: int) -> Iterator[Text]:
        """A line or more per row: its texts, and below them its numbers, as many per line as fit."""
        pairs = [[self._pair(row, column) for column in self._filled(row)] for row in self.rows]
        width = max((cell_len(pair) for row in pairs for pair in row), default=1)
        per_line = max(1, (room - INDENT + GAP) // (width + GAP))
        yield Text()
        for row, numbers in zip(self.rows, pairs, strict=True):
            texts = [cell.plain for cell in row[: self.text] if cell.plain]
            yield Text("  ".join(texts), "bold", overflow="fold")
            for start in range(0, len(numbers), per_line):
                line = (" " * GAP).join(f"{pair:<{width}}" for pair in numbers[start : start + per_line])
                yield Text(" " * INDENT + line.rstrip(), overflow="fold")
        yield Text()

    def _filled(self, row: Sequence[Text]) -> list[int]:
        """The columns of a row that hold a number."""
        return [column for column in range(self.text, len(row)) if row[column].plain.strip()]

    def _pair(self, row: Sequence[Text], column: int) -> str:
        """A number after its heading."""
        heading = " ".join(self.columns[column].plain.split())
        return f"{heading} {row[column].plain.strip()}".strip()


def _width(text: Text) -> int:
    """The columns of the screen that a text takes on one line, or its longest line."""
    return max(map(cell_len, text.plain.split("\n")))


def _longest_word(text: Text) -> int:
    """The columns of the screen that the longest word takes."""
    return max(map(cell_len, text.plain.split()), default=0)
