"""How a run comes on, for people: a bar on a terminal, else a line whenever something changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from layer_cli.functions.running import Status, left_count
from layer_cli.functions.tables import status_row

COLUMNS = ("UDF", "PENDING", "RUNNING", "FAILED", "SWEEPS", "RATE/MIN")


@contextmanager
def shown_progress(name: str) -> Iterator[Callable[[Status], None]]:
    """Yield what is to be told of every status; all of it goes to stderr."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(console)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[detail]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task(name, total=None, detail="looking for rows")
        most = 0

        def show(status: Status) -> None:
            nonlocal most
            left = left_count(status)
            most = max(most, left)
            detail = f"{status['processing_count']} at work, {status['failed_count']} failed"
            progress.update(bar, total=most or 1, completed=most - left, detail=detail)

        yield show


def _lines(console: Console) -> Callable[[Status], None]:
    before: list[str] = []

    def show(status: Status) -> None:
        cells = status_row(status)
        if cells[1:4] == before[1:4]:
            return
        if not before:
            print(*COLUMNS, sep="\t", file=console.file)
        print(*cells, sep="\t", file=console.file, flush=True)
        before[:] = cells

    return show
