"""What a user reads once the system is ready, and what `layer status` shows."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from layer_cli.up.state import ProcessRecord, ProcessState, SystemRecord

FILE_WIDTH_COLUMNS: Final = 1000
"""A file has no width: nothing is to be wrapped or cut."""
FIRST_REQUEST: Final = """\
  Try it:

  curl -sS {edge}/v2/namespaces/books -H 'content-type: application/json' \\
    -H "authorization: Bearer ${{TURBOPUFFER_API_KEY:-local}}" \\
    -d '{{"distance_metric": "cosine_distance", "upsert_rows": [
          {{"id": 1, "vector": [0.1, 0.9], "title": "A Wizard of Earthsea"}},
          {{"id": 2, "vector": [0.8, 0.2], "title": "The Dispossessed"}}]}}'

  curl -sS {edge}/v2/namespaces/books/query -H 'content-type: application/json' \\
    -H "authorization: Bearer ${{TURBOPUFFER_API_KEY:-local}}" \\
    -d '{{"rank_by": ["vector", "ANN", [0.1, 0.8]], "top_k": 1, "include_attributes": ["title"]}}'
"""


def welcome_text(record: SystemRecord, home: Path, *, upstream: str | None) -> str:
    """Show the processes, a first request to copy, and where the data is."""
    edge = next(one.addresses["http"] for one in record.processes if one.service == "gateway")
    data = f"  Data is in {_short(home)}"
    if upstream:
        data += f", rows are in {upstream}"
    request = FIRST_REQUEST.format(edge=f"http://{edge}")
    return f"{processes_text(record.processes)}{request}\n{data}. Stop with Ctrl-C.\n"


def processes_text(processes: Iterable[ProcessRecord]) -> str:
    """Lay out name, address, process id and state in columns, for the terminal or a file."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = FILE_WIDTH_COLUMNS
    with console.capture() as captured:
        console.print(_table(processes), crop=False, overflow="ignore")
    return captured.get()


def _table(processes: Iterable[ProcessRecord]) -> Table:
    table = Table(box=SIMPLE_HEAD)
    for heading in ("SERVICE", "ADDRESS", "PID", "STATE"):
        table.add_column(heading, no_wrap=True, overflow="ignore")
    for one in processes:
        colour = "green" if one.state is ProcessState.READY else "yellow"
        state = f"[{colour}]{one.state}[/]"
        table.add_row(one.name, _addresses(one), str(one.pid or "-"), state)
    return table


def _addresses(record: ProcessRecord) -> str:
    public = {kind: at for kind, at in record.addresses.items() if kind != "ops"}
    shown = [f"http://{public['http']}"] if "http" in public else []
    if grpc := public.get("grpc"):
        shown.append(grpc if grpc.startswith("unix:") else f"grpc {grpc}")
    return ", ".join(_short_socket(at) for at in shown) or "-"


def _short_socket(address: str) -> str:
    if not address.startswith("unix:"):
        return address
    return f"unix:{_short(Path(address.removeprefix('unix:')))}"


def _short(path: Path) -> str:
    """Return ``path`` relative to the current directory when it lies within."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
