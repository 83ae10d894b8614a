"""`layer udf`: which functions there are, and how much work they have."""

from __future__ import annotations

import json
import time
from typing import Annotated, Any
from urllib.parse import quote

import typer

from layer_cli.commands.run import BaseUrl, PollInterval, open_edge
from layer_cli.edge import BASE_URL_DEFAULT
from layer_cli.options import OutputFormat, OutputOption

app = typer.Typer(help="Show functions.")


@app.command("list")
def list_functions(
    *, url: BaseUrl = BASE_URL_DEFAULT, output: OutputOption = OutputFormat.TABLE
) -> None:
    """Show all functions."""
    with open_edge(url) as edge:
        functions = edge.get("/v2/udfs", {})["udfs"]
        if output is OutputFormat.NAMES:
            typer.echo("\n".join(function["id"] for function in functions))
            return
        if output is OutputFormat.JSON:
            typer.echo(json.dumps(functions, indent=2, ensure_ascii=False))
            return
        _show([edge.get(f"/v2/udfs/{_quoted(one['id'])}/status", {}) for one in functions])


@app.command("ls", hidden=True)
def ls(*, url: BaseUrl = BASE_URL_DEFAULT, output: OutputOption = OutputFormat.TABLE) -> None:
    """Show all functions."""
    list_functions(url=url, output=output)


@app.command("get")
def get(
    function_id: Annotated[str, typer.Argument(help="The function.")],
    *,
    watch: Annotated[bool, typer.Option("--watch", help="Show it again and again.")] = False,
    poll_interval: PollInterval = 2.0,
    url: BaseUrl = BASE_URL_DEFAULT,
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """Show one function."""
    with open_edge(url) as edge:
        while True:
            status = edge.get(f"/v2/udfs/{_quoted(function_id)}/status", {})
            match output:
                case OutputFormat.JSON:
                    typer.echo(json.dumps(status, indent=2, ensure_ascii=False))
                case OutputFormat.NAMES:
                    typer.echo(status["udf_id"])
                case OutputFormat.TABLE:
                    _show([status])
            if not watch:
                return
            time.sleep(poll_interval)


@app.command("status", hidden=True)
def status(
    function_id: Annotated[str, typer.Argument(help="The function.")],
    *,
    url: BaseUrl = BASE_URL_DEFAULT,
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """Show one function."""
    get(function_id, url=url, output=output)


def _show(statuses: list[dict[str, Any]]) -> None:
    from layer_cli.functions.tables import functions_text  # noqa: PLC0415 -- rich takes 0.1 s

    typer.echo(functions_text(statuses), nl=False)


def _quoted(text: str) -> str:
    return quote(text, safe="")
