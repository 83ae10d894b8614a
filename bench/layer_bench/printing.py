"""How tables are printed: for eyes on a terminal, and else in Markdown, as pages have them."""

from __future__ import annotations

import os
from typing import Final

from rich import box
from rich.console import Console
from rich.table import Table

PAGE_COLUMNS: Final = 400
"""Wide enough that no cell of a Markdown table is broken."""


def show(table: Table) -> None:
    """Print a table."""
    if os.isatty(1):
        Console().print(table)
        return
    table.box = box.MARKDOWN
    Console(width=PAGE_COLUMNS).print(table)


def say(text: str) -> None:
    """Print a line that belongs to the tables."""
    Console().print(text)
