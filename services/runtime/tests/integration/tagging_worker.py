"""A worker that tests start as a process: it says what it does, and takes as long as it is told."""

from __future__ import annotations

import os
import time
from pathlib import Path

from layer_sdk import Document, PermanentError, Row, pipeline_stage, udf


def wait(what: str) -> None:
    Path(os.environ["TAGGING_STARTED"]).write_text(what)
    until = Path(os.environ["TAGGING_UNTIL"])
    while not until.exists():
        time.sleep(0.01)


@udf(output="seen")
def tag(kind: str) -> str:
    wait(kind)
    if kind == "poison":
        raise PermanentError("poison")
    return kind.upper()


@pipeline_stage()
def embed(document: Document) -> list[Row]:
    wait(document.id)
    return [Row(id=chunk.id, vector=[1.0, 0.0]) for chunk in document.chunks]
