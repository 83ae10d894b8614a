"""Workers of functions and pipelines: what a team writes to process its rows and documents.

    from layer_sdk import PermanentError, udf

    @udf(id="tag-size", output="size_class")
    def tag_size(kind: str, size: int | None) -> str:
        if size is None:
            raise PermanentError("it has no size")
        return "S" if size < 10 else "L"

``python -m layer_sdk module:tag_size`` runs it until SIGTERM.
"""

from __future__ import annotations

from layer_sdk.decorators import pipeline_stage, udf
from layer_sdk.errors import PermanentError, TransientError
from layer_sdk.items import Chunk, Document, Row
from layer_sdk.running import run_worker, start_worker

__all__ = [
    "Chunk",
    "Document",
    "PermanentError",
    "Row",
    "TransientError",
    "pipeline_stage",
    "run_worker",
    "start_worker",
    "udf",
]
