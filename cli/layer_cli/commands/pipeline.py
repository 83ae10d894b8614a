"""`layer pipeline`: which pipelines there are, and how much work they have."""

from __future__ import annotations

import json
from typing import Annotated, Any
from urllib.parse import quote

import typer

from layer_cli.commands.run import BaseUrl, open_edge
from layer_cli.edge import BASE_URL_DEFAULT, Edge
from layer_cli.options import OutputFormat, OutputOption

app = typer.Typer(help="Show pipelines.")


@app.command("list")
def list_pipelines(
    *, url: BaseUrl = BASE_URL_DEFAULT, output: OutputOption = OutputFormat.TABLE
) -> None:
    """Show all pipelines."""
    with open_edge(url) as edge:
        pipelines = edge.get("/v2/pipelines", {})["pipelines"]
        match output:
            case OutputFormat.NAMES:
                typer.echo("\n".join(pipeline["id"] for pipeline in pipelines))
            case OutputFormat.JSON:
                typer.echo(json.dumps(pipelines, indent=2, ensure_ascii=False))
            case OutputFormat.TABLE:
                _show([(one, _status(edge, one["id"])) for one in pipelines])


@app.command("get")
def get(
    pipeline_id: Annotated[str, typer.Argument(help="The pipeline.")],
    *,
    url: BaseUrl = BASE_URL_DEFAULT,
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """Show one pipeline."""
    with open_edge(url) as edge:
        status = _status(edge, pipeline_id)
        match output:
            case OutputFormat.NAMES:
                typer.echo(pipeline_id)
            case OutputFormat.JSON:
                typer.echo(json.dumps(status, indent=2, ensure_ascii=False))
            case OutputFormat.TABLE:
                pipelines = edge.get("/v2/pipelines", {})["pipelines"]
                _show([(one, status) for one in pipelines if one["id"] == pipeline_id])


def _status(edge: Edge, pipeline_id: str) -> Any:
    return edge.get(f"/v2/pipelines/{quote(pipeline_id, safe='')}/status", {})


def _show(rows: list[tuple[Any, Any]]) -> None:
    from layer_cli.tables import table_text  # noqa: PLC0415 -- rich takes 0.1 s

    columns = ("ID", "TARGET", "PENDING", "RUNNING", "FAILED", "RATE/MIN")
    cells = [
        [
            pipeline["id"],
            pipeline["target_namespace"],
            *(str(status[name]) for name in ("pending_count", "processing_count", "failed_count")),
            f"{status['indexed_rate_per_min']:.0f}",
        ]
        for pipeline, status in rows
    ]
    typer.echo(table_text(columns, cells), nl=False)
