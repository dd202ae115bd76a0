"""The screen that the commands print on, and the tables they print."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def open_console() -> Console:
    """Standard output; in a pipe or a file there is no window whose width would cut a line."""
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else 160)


def make_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], right: Iterable[int] = ()) -> Table:
    """A table whose columns number ``right`` are flush right."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    heading = Text(title, no_wrap=True, overflow="ignore")  # however narrow the table
    shown = Table(title=heading, title_justify="left", box=box.SIMPLE_HEAD)
    flush = set(right)
    for position, column in enumerate(columns):
        shown.add_column(column, justify="right" if position in flush else "left")
    for row in rows:
        shown.add_row(*row)
    return shown
