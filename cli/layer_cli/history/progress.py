"""How far an export is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from layer_cli.history.pages import Event


def counted(pages: Iterable[list[Event]], *, is_shown: bool) -> Iterator[list[Event]]:
    """Yield pages, and tell on stderr how many events there were and how old the last one is."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not is_shown, transient=True) as progress:
        task, count = progress.add_task("0 events"), 0
        for page in pages:
            yield page
            count += len(page)
            if page:
                progress.update(
                    task, description=f"{count:,} events, back to {page[-1]['timestamp']}"
                )
