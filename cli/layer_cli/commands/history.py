"""`layer history`: what was searched and clicked, listed, shown by session, and exported."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import quote

import typer

from layer_cli.edge import (
    BASE_URL_DEFAULT,
    BASE_URL_VARIABLE,
    Edge,
    EdgeError,
    key_of_environment,
)
from layer_cli.history.exports import ExportFormat, open_writer
from layer_cli.history.pages import Pages
from layer_cli.options import OutputFormat, OutputOption

LIMIT_DEFAULT: Final = 20

app = typer.Typer(help="Show and export what was searched and which results were opened.")


class What(StrEnum):
    """Which events."""

    QUERIES = "search-history"
    CLICKS = "clickstream"


Namespace = Annotated[str, typer.Argument(help="The namespace.")]
BaseUrl = Annotated[
    str, typer.Option("--url", envvar=BASE_URL_VARIABLE, help="Base URL of the gateway.")
]
Clicks = Annotated[bool, typer.Option("--clicks", help="Opened results instead of searches.")]
Tags = Annotated[
    list[str] | None, typer.Option("--tag", help="Only with this tag. May be repeated.")
]
From = Annotated[str | None, typer.Option("--from", help="Only from this moment on (RFC 3339).")]
To = Annotated[str | None, typer.Option("--to", help="Only up to this moment (RFC 3339).")]


@app.command("list")
def list_events(
    namespace: Namespace,
    *,
    clicks: Clicks = False,
    tag: Tags = None,
    from_: From = None,
    to: To = None,
    limit: Annotated[int, typer.Option(min=1, help="How many, newest first.")] = LIMIT_DEFAULT,
    url: BaseUrl = BASE_URL_DEFAULT,
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """Show the newest searches, or clicks."""
    with _pages(url, _path(namespace, _what(clicks=clicks)), _selection(tag, from_, to)) as pages:
        events = list(pages.first(limit))
    match output:
        case OutputFormat.JSON:
            typer.echo(json.dumps(events, indent=2, ensure_ascii=False))
        case OutputFormat.NAMES:
            typer.echo("\n".join(str(event.get("trace_id", "")) for event in events))
        case OutputFormat.TABLE:
            from layer_cli.history.tables import events_text  # noqa: PLC0415 -- rich takes 0.1 s

            typer.echo(events_text(events, is_clicks=clicks), nl=False)


@app.command()
def session(
    namespace: Namespace,
    trace_id: Annotated[str, typer.Argument(help="The trace, 32 hexadecimal digits.")],
    *,
    url: BaseUrl = BASE_URL_DEFAULT,
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """Show the searches of a trace and the results that were opened after them."""
    with _edge(url) as edge:
        path = f"{_path(namespace, What.QUERIES)}/{quote(trace_id, safe='')}"
        found: dict[str, Any] = edge.get(path, {})
    if output is OutputFormat.TABLE:
        from layer_cli.history.tables import session_text  # noqa: PLC0415 -- rich takes 0.1 s

        typer.echo(session_text(found), nl=False)
    else:
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))


@app.command()
def export(
    namespace: Namespace,
    *,
    file: Annotated[Path, typer.Option("--file", "-f", help="Where to write; `-` = stdout.")],
    clicks: Clicks = False,
    tag: Tags = None,
    from_: From = None,
    to: To = None,
    format_: Annotated[
        ExportFormat, typer.Option("--format", help="jsonl, or parquet with pyarrow installed.")
    ] = ExportFormat.JSONL,
    url: BaseUrl = BASE_URL_DEFAULT,
) -> None:
    """Write searches, or clicks, to a file, newest first, page by page."""
    with (
        open_writer(format_, file, is_clicks=clicks) as writer,
        _pages(url, _path(namespace, _what(clicks=clicks)), _selection(tag, from_, to)) as pages,
    ):
        from layer_cli.history.progress import counted  # noqa: PLC0415 -- rich takes 0.1 s

        for page in counted(pages, is_shown=sys.stderr.isatty()):
            writer.write(page)
    typer.echo(f"{writer.count} events", err=True)


@contextlib.contextmanager
def _edge(url: str) -> Iterator[Edge]:
    edge = Edge(url, key_of_environment())
    try:
        yield edge
    except EdgeError as error:
        typer.echo(f"layer history: {error}", err=True)
        raise typer.Exit(1) from error
    finally:
        edge.close()


@contextlib.contextmanager
def _pages(url: str, path: str, selection: Mapping[str, str | None]) -> Iterator[Pages]:
    with _edge(url) as edge:
        yield Pages(edge, path, selection)


def _path(namespace: str, what: What) -> str:
    return f"/v2/namespaces/{quote(namespace, safe='')}/{what}"


def _selection(
    tags: list[str] | None, from_: str | None, to: str | None
) -> Mapping[str, str | None]:
    return {"tag": ",".join(tags) if tags else None, "from": from_, "to": to}


def _what(*, clicks: bool) -> What:
    return What.CLICKS if clicks else What.QUERIES
