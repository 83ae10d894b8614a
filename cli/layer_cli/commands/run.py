"""`layer run`: register a function, run it over its namespaces, and wait until it is done."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
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
from layer_cli.functions.manifest import Manifest, check_namespaces, read_manifest
from layer_cli.functions.outcome import FAILED_SHOWN_MAX, Outcome
from layer_cli.functions.running import Run, left_count
from layer_cli.functions.workers import Workers, local_workers
from layer_cli.options import OutputFormat, OutputOption
from layer_kit.configuration import ConfigurationError

FAILED: Final = 1
INTERRUPTED: Final = 130
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
    retries_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try rows again that were given up before.")
    ] = False,
    remove: Annotated[bool, typer.Option("--rm", help="Delete it when it is done.")] = False,
    poll_interval: PollInterval = 2.0,
    url: BaseUrl = BASE_URL_DEFAULT,
    output: OutputOption = OutputFormat.TABLE,
) -> int:
    """Run a function over its namespaces and wait until every row is done.

    Exits with 1 when some failed, and with 130 after Ctrl-C: run it again to go on.
    """
    manifest = read_manifest(file, index or ())
    if not no_apply:
        check_namespaces(manifest)
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
        if retries_failed:
            one.reset_failed()
        if detach:
            one.discover(lambda _: None)
            return 0
        pool = _workers(manifest, code, processes, url) if local and code is not None else None
        try:
            outcome = _worked(one, pool, poll_interval)
        except KeyboardInterrupt:
            left = left_count(one.status())
            typer.echo(f"layer: interrupted, {left} rows are left; run it again to go on", err=True)
            raise typer.Exit(INTERRUPTED) from None
        if remove:
            one.remove()
    typer.echo(outcome.text(output))
    return FAILED if outcome.failed_count else 0


def _worked(
    one: Run, pool: AbstractContextManager[Workers] | None, poll_interval: float
) -> Outcome:
    """Look for rows and wait until all are done, with workers here where there is a pool."""
    started_s = time.monotonic()
    before = one.status()["discovery"]["sweeps_completed"]
    workers: Workers | None = None
    with contextlib.ExitStack() as stack:
        from layer_cli.functions.progress import shown_progress  # noqa: PLC0415 -- rich takes 0.1 s

        shown = stack.enter_context(shown_progress(one.manifest.id))
        if pool is not None:
            workers = stack.enter_context(pool)
        one.discover(shown)

        def check() -> None:
            if workers is not None and not workers.running_count:
                raise EdgeError(f"all workers ended, the first with {workers.first_exit_code}")

        status = one.wait(
            sweeps_before=before, poll_interval_s=poll_interval, shown=shown, check=check
        )
    return Outcome(
        status=status,
        failed=one.failed(FAILED_SHOWN_MAX) if status["failed_count"] else (),
        completed_count=None if workers is None else workers.completed_count,
        elapsed_s=time.monotonic() - started_s,
    )


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
    manifest: Manifest, code: str, processes: int | None, url: str
) -> AbstractContextManager[Workers]:
    return local_workers(
        code,
        count=processes or os.cpu_count() or 1,
        folder=manifest.folder,
        base_url=url,
        key=key_of_environment(),
        function_id=manifest.id,
        settings=manifest.worker_settings,
    )
