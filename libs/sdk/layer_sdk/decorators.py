"""Marking a function as a worker's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

FUNCTION_MARK: Final = "__hevlayer_udf__"
"""Where the official SDK keeps its own, so that either runs what the other has marked."""

STAGE_MARK: Final = "__layer_stage__"
RESERVED_PREFIX: Final = "_hevlayer_"


@dataclass(frozen=True, slots=True, kw_only=True)
class StageOptions:
    """What a stage of a pipeline does with its documents."""

    pipeline_id: str | None
    stage: str
    claim_stage: str
    next_stage: str
    is_batch: bool
    batch_size: int | None


def udf(
    *,
    id: str | None = None,  # noqa: A002 -- as the official SDK calls it
    output: str | None = None,
    kind: str | None = None,
    batch: bool = False,
    batch_size: int | None = None,
) -> Callable[[F], F]:
    """Mark what processes the rows of a function.

    It is called with an item's inputs as keyword arguments, or with a list of such inputs where
    ``batch`` is set, and may be asynchronous. What it returns is the attribute ``output``, the
    vector of the row where ``kind`` is ``embedding``, or else a mapping of attributes, or None.
    A batch returns a list with as many of these; an exception in it is the failure of its item.

    Raises:
        ValueError: ``output`` is no attribute that can be written.
    """
    if output is not None and (not output.strip() or output.startswith(RESERVED_PREFIX)):
        raise ValueError(f"output {output!r} is not an attribute that can be written")
    options = {
        "id": id,
        "output": output,
        "kind": kind,
        "batch": batch or None,
        "batch_size": batch_size,
    }

    def mark(function: F) -> F:
        found = {name: value for name, value in options.items() if value is not None}
        setattr(function, FUNCTION_MARK, found)
        return function

    return mark


def pipeline_stage(
    *,
    id: str | None = None,  # noqa: A002
    stage: str = "pending",
    claim_stage: str = "embedding",
    next_stage: str = "indexed",
    batch: bool = False,
    batch_size: int | None = None,
) -> Callable[[F], F]:
    """Mark what processes the documents of a pipeline that are in ``stage``.

    It is called with a :class:`Document` and may be asynchronous. Rows that it returns are written
    to the namespace of the pipeline, which makes the document ``indexed``; without any it goes on
    to ``next_stage``. With ``batch`` it is called with a list of documents and returns a list as
    long, of the rows of each; an exception in it is the failure of its document.
    """
    options = StageOptions(
        pipeline_id=id,
        stage=stage,
        claim_stage=claim_stage,
        next_stage=next_stage,
        is_batch=batch,
        batch_size=batch_size,
    )

    def mark(function: F) -> F:
        setattr(function, STAGE_MARK, options)
        return function

    return mark
