"""`layer up`: the whole system on this machine."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated

import typer

from layer_cli.options import HOME_DEFAULT, HomeOption
from layer_cli.up.home import open_home
from layer_cli.up.plan import (
    PORT_MAX,
    Options,
    local_system,
    refuse_missing_packages,
    remove_left_caches,
)
from layer_cli.up.session import run_session, stderr_logs
from layer_cli.up.specs import ProcessSpec
from layer_cli.up.state import SystemRecord
from layer_cli.up.supervisor import NotReadyError
from layer_kit.configuration import ConfigurationError


class LogLevel(StrEnum):
    """Least severe event that the services log."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def up(
    *,
    home: HomeOption = HOME_DEFAULT,
    http_port: Annotated[
        int,
        typer.Option(
            envvar="LAYER_HTTP_PORT", min=0, max=PORT_MAX, help="HTTP port of the edge; 0 = any."
        ),
    ] = 8080,
    grpc_port: Annotated[
        int,
        typer.Option(
            envvar="LAYER_GRPC_PORT", min=0, max=PORT_MAX, help="gRPC port of the gateway; 0 = any."
        ),
    ] = 7100,
    upstream: Annotated[
        str | None,
        typer.Option(envvar="LAYER_UPSTREAM", help="URL of a store to use, not the embedded one."),
    ] = None,
    replicas: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=N", help="Run N of a service: gateway=3, cache=2. May be repeated."
        ),
    ] = None,
    log_level: Annotated[
        LogLevel | None, typer.Option(help="Least severe event that services log.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Do not show the services' logs.")] = False,
    ready_timeout_s: Annotated[
        float, typer.Option("--ready-timeout", min=1, help="Seconds until all must be ready.")
    ] = 60.0,
) -> None:
    """Run every service as a process of its own, on embedded defaults, until Ctrl-C."""
    options = Options(
        http_port=http_port,
        grpc_port=grpc_port,
        upstream=upstream,
        replicas=_parse_replicas(replicas or []),
        log_level=log_level,
        log_format="console" if sys.stderr.isatty() else "json",
    )
    with open_home(home, socket_names=options.socket_names) as opened:
        specs = local_system(opened, options, os.environ)
        refuse_missing_packages(specs)
        remove_left_caches(opened, options)
        is_coloured = sys.stderr.isatty() and "NO_COLOR" not in os.environ
        logs = stderr_logs(specs, is_coloured=is_coloured, is_quiet=quiet)
        _tell_ignored_variables(specs, os.environ)

        def welcome(record: SystemRecord) -> None:
            from layer_cli.up.report import welcome_text  # noqa: PLC0415 -- rich takes 0.1 s

            try:
                typer.echo(welcome_text(record, opened.path, upstream=upstream))
            except OSError as error:
                # The system serves, whether or not someone reads its table.
                logs.say(f"everything is ready, but stdout is gone: {error.strerror}")

        session = run_session(
            specs,
            opened,
            environment=os.environ,
            logs=logs,
            on_ready=welcome,
            ready_s_max=ready_timeout_s,
        )
        try:
            asyncio.run(session)
        except ConfigurationError:
            logs.discard()
            raise
        except NotReadyError as error:
            logs.release()
            typer.echo(str(error), err=True)
            raise typer.Exit(1) from error


def _parse_replicas(texts: Sequence[str]) -> dict[str, int]:
    replicas = {}
    for text in texts:
        name, _, count = text.partition("=")
        if not count.isdecimal():
            raise ConfigurationError(f"--replicas {text}: write NAME=N, such as gateway=3")
        replicas[name] = int(count)
    return replicas


def _tell_ignored_variables(specs: Sequence[ProcessSpec], environment: Mapping[str, str]) -> None:
    settled = set().union(*(spec.settled_variables for spec in specs))
    for name in sorted(settled & set(environment)):
        typer.echo(f"layer up: {name} is not used; `layer up` chooses it", err=True)
