"""The life of a service process: settings, telemetry, signals, and what it tells its supervisor.

``run_service`` is the whole of every ``__main__``. On start it prints one line on stdout,
``listening {"grpc": "...", "ops": "..."}``, so that whoever chose port 0 learns the port. Logs
go to stderr. A :class:`ConfigurationError` ends the process with its one line and exit code 2.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

import structlog
import uvloop
from pydantic import SecretStr

from layer_kit.configuration import EXIT_CODE, ConfigurationError
from layer_kit.memory import keep_freed_memory
from layer_kit.settings import ServiceSettings, load_settings, variables
from layer_kit.supervision import die_with_supervisor, listening_line
from layer_kit.telemetry.logs import configure_logs
from layer_kit.telemetry.traces import configure_traces

log = structlog.get_logger(__name__)

S = TypeVar("S", bound=ServiceSettings)
Addresses = Mapping[str, str]
"""What a process listens on, by kind: ``grpc``, ``ops``, ``http``."""


def run_service(
    settings_class: type[S],
    serving: Callable[[S], AbstractAsyncContextManager[Addresses]],
    arguments: Sequence[str] | None = None,
) -> None:
    """Run a service until SIGTERM or SIGINT, then leave ``serving`` so that it drains.

    Args:
        settings_class: Read from the environment; ``--help`` and ``--print-config`` show it.
        serving: Runs the service for the length of its block and yields its addresses.
        arguments: The command line, by default that of the process.
    """
    try:
        settings = _settings_or_exit(settings_class, arguments)
        configure_logs(
            service=settings.service, log_format=settings.log_format, level=settings.log_level
        )
        flush_traces = configure_traces(service=settings.service)
        die_with_supervisor()
        keep_freed_memory()
        try:
            uvloop.run(_serve(settings, serving))
        finally:
            flush_traces()
    except ConfigurationError as error:
        print(f"layer {settings_class.service}: {error}", file=sys.stderr)
        sys.exit(EXIT_CODE)


async def _serve(
    settings: S, serving: Callable[[S], AbstractAsyncContextManager[Addresses]]
) -> None:
    stop = asyncio.Event()
    starting = asyncio.current_task()

    def end() -> None:
        stop.set()
        if starting is not None:
            starting.cancel()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, end)
    async with _ended_by(stop), _one_failure(serving(settings)) as addresses:
        starting = None
        # What exists now lives as long as the process; the collector need not walk it again.
        gc.collect()
        gc.freeze()
        print(listening_line(addresses), flush=True)
        log.info("service_started", **{f"{kind}_address": at for kind, at in addresses.items()})
        await stop.wait()
        log.info("service_stopping", grace_s=settings.shutdown_grace_s)
    log.info("service_stopped")


@contextlib.asynccontextmanager
async def _ended_by(stop: asyncio.Event) -> AsyncIterator[None]:
    """Let a start that was told to stop end quietly, however long it would have waited."""
    try:
        yield
    except asyncio.CancelledError:
        if not stop.is_set():
            raise


@contextlib.asynccontextmanager
async def _one_failure(
    serving: AbstractAsyncContextManager[Addresses],
) -> AsyncIterator[Addresses]:
    """Unwrap a ConfigurationError that start-up tasks raised inside a group."""
    try:
        async with serving as addresses:
            yield addresses
    except* ConfigurationError as group:
        first: BaseException = group
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        raise first from None


def _settings_or_exit(settings_class: type[S], arguments: Sequence[str] | None) -> S:
    parser = argparse.ArgumentParser(
        prog=f"python -m layer_{settings_class.service}",
        description=(settings_class.__doc__ or "").strip(),
        epilog=_reference(settings_class),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--print-config", action="store_true", help="show the effective settings and exit"
    )
    options = parser.parse_args(arguments)
    settings = load_settings(settings_class)
    if options.print_config:
        for variable in variables(settings_class):
            print(f"{variable.names[0]}={_shown(getattr(settings, variable.field))}")
        sys.exit(0)
    return settings


def _reference(settings_class: type[ServiceSettings]) -> str:
    lines = ["settings (environment variable, default, meaning):"]
    for variable in variables(settings_class):
        lines.append(f"  {', '.join(variable.names)}  [{_shown(variable.default)}]")
        lines.append(f"      {variable.description}")
    return "\n".join(lines)


def _shown(value: Any) -> str:
    if isinstance(value, SecretStr):
        return "**********" if value.get_secret_value() else ""
    return "" if value is None else str(value)
