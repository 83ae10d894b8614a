"""The command line: verbs, and how a fault becomes one line and an exit code.

Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 130 interrupted.
"""

from __future__ import annotations

import os
import sys

import typer

from layer_cli.commands import history, pipeline, udf
from layer_cli.commands.run import run
from layer_cli.commands.status import status
from layer_cli.commands.up import up
from layer_cli.commands.version import version
from layer_cli.environment import refuse_unknown_variables
from layer_kit.configuration import EXIT_CODE, ConfigurationError

PROGRAM = "layer"

app = typer.Typer(
    help="A retrieval gateway around Turbopuffer.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for verb in (up, run, status, version):
    app.command()(verb)
app.add_typer(history.app, name="history")
app.add_typer(pipeline.app, name="pipeline")
app.add_typer(udf.app, name="udf")


def main() -> None:
    """Run the command line of this process and exit."""
    code = _run()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        # Nobody reads any more. Python would try again on its way out, and exit with 120.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (sys.stdout, sys.stderr):
            os.dup2(nowhere, stream.fileno())
    sys.exit(code)


def _run() -> int:
    try:
        refuse_unknown_variables(os.environ)
        result = app(prog_name=PROGRAM, standalone_mode=False)
    except typer.TyperException as error:
        if message := error.format_message():  # empty when the help was shown in its stead
            typer.echo(_one_line(message), err=True)
        return error.exit_code
    except ConfigurationError as error:
        typer.echo(_one_line(str(error)), err=True)
        return EXIT_CODE
    return result if isinstance(result, int) else 0


def _one_line(message: str) -> str:
    """Name the program, unless a process of the system has already named itself."""
    return message if message.startswith(f"{PROGRAM} ") else f"{PROGRAM}: {message}"
