"""Options that more than one verb takes, declared once."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class OutputFormat(StrEnum):
    """``table`` for people, ``json`` for programs, ``names`` for shell loops."""

    TABLE = "table"
    JSON = "json"
    NAMES = "names"


OutputOption = Annotated[OutputFormat, typer.Option("--output", "-o", help="Form of the result.")]
HomeOption = Annotated[
    Path,
    typer.Option("--home", envvar="LAYER_HOME", help="Directory of the local system."),
]
HOME_DEFAULT = Path(".layer")
