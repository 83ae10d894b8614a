"""`layer run`: register a function, run it over its namespaces, and wait until it is done."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Final

import typer

from layer_cli.edge import (
    BASE_URL_DEFAULT,
    BASE_URL_VARIABLE,
    Edge,
    EdgeError,
    key_of_environment,
)
from layer_cli.functions.manifest import Manifest, read_manifest
from layer_cli.functions.running import Run, Status
from layer_cli.functions.workers import Workers, local_workers
from layer_kit.configuration import ConfigurationError

FAILED: Final = 1
PROCESSES_MAX: Final = 64

BaseUrl = Annotated[
    str, typer.Option("--url", envvar=BASE_URL_VARIABLE, help="Base URL of the gateway.")
]
PollInterval = Annotated[
    float, typer.Option("--poll-interval", min=0.1, help="Seconds between two looks.")
]


def run(
    file: Annotated[Path, typer.Option("--file", "-f", help="The function, as YAML.")],
    *,
    index: Annotated[
        list[str] | None, typer.Option(help="Work on this namespace instead. May be repeated.")
    ] = None,
    local: Annotated[
        bool, typer.Option("--local", help="Run its workers here, as processes.")
    ] = False,
    worker: Annotated[
        str | None,
        typer.Option(help="module:function to run here, unless the file's command names it."),
    ] = None,
    processes: Annotated[
        int | None, typer.Option(min=1, max=PROCESSES_MAX, help="Workers here; one a processor.")
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Do not wait.")] = False,
    no_apply: Annotated[bool, typer.Option("--no-apply", help="It is registered already.")] = False,
    replaces: Annotated[
        bool, typer.Option("--replace", help="Replace what is registered under its name.")
    ] = False,
    remove: Annotated[bool, typer.Option("--rm", help="Delete it when it is done.")] = False,
    poll_interval: PollInterval = 2.0,
    url: BaseUrl = BASE_URL_DEFAULT,
) -> int:
    """Run a function over its namespaces and wait until every row is done.

    Exits with 1 when some failed.
    """
    manifest = read_manifest(file)
    if index:
        manifest = replace(manifest, spec={**manifest.spec, "target_namespaces": index})
    code = worker or manifest.worker
    if local and code is None:
        raise ConfigurationError(
            f"{file} does not say what to run: name module:function in the command of its "
            "container, or give --worker"
        )
    if local and detach:
        raise ConfigurationError("--local and --detach: workers here end with this command")
    with open_edge(url) as edge:
        one = Run(edge=edge, manifest=manifest)
        if not no_apply:
            one.apply(replaces=replaces)
        before = one.status()["discovery"]["sweeps_completed"]
        with contextlib.ExitStack() as stack:
            workers = None
            if local and code is not None:
                count = processes or os.cpu_count() or 1
                workers = stack.enter_context(_workers(manifest, code, count, url))
            one.discover()
            if detach:
                return 0
            status = _wait(one, before, poll_interval, workers)
        if remove:
            one.remove()
    failed_count = int(status["failed_count"])
    typer.echo(f"{manifest.id}: done, {failed_count} failed")
    return FAILED if failed_count else 0


@contextlib.contextmanager
def open_edge(url: str) -> Iterator[Edge]:
    """Yield a gateway; what it refuses ends the command with one line."""
    edge = Edge(url, key_of_environment())
    try:
        yield edge
    except EdgeError as error:
        typer.echo(f"layer: {error}", err=True)
        raise typer.Exit(FAILED) from error
    finally:
        edge.close()


def _workers(
    manifest: Manifest, code: str, count: int, url: str
) -> contextlib.AbstractContextManager[Workers]:
    return local_workers(
        code,
        count=count,
        folder=manifest.folder,
        base_url=url,
        key=key_of_environment(),
        function_id=manifest.id,
    )


def _wait(one: Run, before: int, poll_interval_s: float, workers: Workers | None) -> Status:
    """Wait with a bar: what has left the queue, of all that has been in it."""
    from rich.progress import Progress  # noqa: PLC0415 -- rich takes 0.1 s

    def check() -> None:
        if workers is not None and not workers.running_count:
            raise EdgeError(f"all workers ended, the first with {workers.first_exit_code}")

    with Progress(transient=True) as progress:
        bar = progress.add_task(one.manifest.id, total=None)
        most = 0

        def show(status: Status) -> None:
            nonlocal most
            left = status["pending_count"] + status["processing_count"]
            most = max(most, left)
            progress.update(bar, total=most or 1, completed=most - left)

        return one.wait(
            sweeps_before=before, poll_interval_s=poll_interval_s, shown=show, check=check
        )
