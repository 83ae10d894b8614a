"""`layer status`: what runs in a home, and whether it answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import typer

from layer_cli.options import HOME_DEFAULT, HomeOption, OutputFormat, OutputOption
from layer_cli.up.home import is_owned, state_file
from layer_cli.up.probe import is_ready
from layer_cli.up.state import ProcessRecord, ProcessState, SystemRecord, read_state


def status(*, home: HomeOption = HOME_DEFAULT, output: OutputOption = OutputFormat.TABLE) -> None:
    """Show the processes of a local system; exit with 1 unless all of them are ready."""
    record = read_state(state_file(home)) if is_owned(home) else None
    if record is None:
        typer.echo(f"layer status: nothing runs in {home}; start it with `layer up`", err=True)
        raise typer.Exit(1)
    probed = replace(record, processes=tuple(asyncio.run(_probe_all(record.processes))))
    _show(probed, home, output)
    if any(one.state is not ProcessState.READY for one in probed.processes):
        raise typer.Exit(1)


async def _probe_all(processes: Sequence[ProcessRecord]) -> list[ProcessRecord]:
    return await asyncio.gather(*(_probe(one) for one in processes))


async def _probe(record: ProcessRecord) -> ProcessRecord:
    if record.state is not ProcessState.READY or await is_ready(record.addresses["ops"]):
        return record
    return replace(record, state=ProcessState.UNREADY)


def _show(record: SystemRecord, home: Path, output: OutputFormat) -> None:
    match output:
        case OutputFormat.JSON:
            typer.echo(json.dumps({"home": str(home.absolute()), **asdict(record)}, indent=2))
        case OutputFormat.NAMES:
            typer.echo("\n".join(one.name for one in record.processes))
        case OutputFormat.TABLE:
            from layer_cli.up.report import processes_text  # noqa: PLC0415 -- rich takes 0.1 s

            typer.echo(processes_text(record.processes), nl=False)
