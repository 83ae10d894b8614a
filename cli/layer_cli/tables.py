"""Tables for people to read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table


def table_text(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return rows below their columns.

    Cells may hold what anybody has typed: nothing in them is markup, or moves the cursor.
    """
    table = Table(*columns, box=None)
    for row in rows:
        table.add_row(*map(_harmless, row))
    console = Console(markup=False, emoji=False)
    with console.capture() as captured:
        console.print(table)
    return captured.get()


def _harmless(cell: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in cell)
