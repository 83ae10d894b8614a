from __future__ import annotations

import typer

from layer_cli import VERSION


def version() -> None:
    """Print the version of layer."""
    typer.echo(f"layer {VERSION}")
