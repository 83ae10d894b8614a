"""Running what a user has marked: as an item's worker or a stage's, until SIGTERM."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from typing import Any

from layer_sdk.connection import Connection, connection
from layer_sdk.decorators import STAGE_MARK, StageOptions
from layer_sdk.falling_back import open_documents, open_functions
from layer_sdk.loops import DRAIN_S_MAX, POLL_INTERVAL_S
from layer_sdk.processing import Processing
from layer_sdk.stages import STAGE_BATCH_SIZE_DEFAULT, STAGE_LEASE_S_DEFAULT, StageLoop
from layer_sdk.worker_loop import LEASE_S_DEFAULT, WorkerLoop


async def run_worker(
    function: Callable[..., Any],
    *,
    function_id: str | None = None,
    pipeline_id: str | None = None,
    base_url: str | None = None,
    api_key: str | None = None,
    runtime_address: str | None = None,
    worker_id: str | None = None,
    limit: int | None = None,
    lease_s: int | None = None,
    poll_interval_s: float = POLL_INTERVAL_S,
    drain_s: float = DRAIN_S_MAX,
    once: bool = False,
    handles_signals: bool = True,
) -> int:
    """Run a marked function or stage as a worker, until SIGTERM or SIGINT.

    What is not given comes from its mark, then from the environment: ``HEVLAYER_UDF_ID``,
    ``HEVLAYER_PIPELINE_ID``, ``HEVLAYER_UDF_BATCH_SIZE``, ``HEVLAYER_UDF_LEASE_SECONDS``, and those
    of ``connection``.

    Returns:
        How many items, or documents, were completed.

    Raises:
        ValueError: Nothing says which function it is, or a variable is no number.
        Refused: The function does not exist, or the key may not.
    """
    to = connection(
        base_url=base_url, api_key=api_key, runtime_address=runtime_address, worker_id=worker_id
    )
    options = getattr(function, STAGE_MARK, None)
    loop: WorkerLoop | StageLoop
    if options is not None:
        loop = _stage_loop(
            function, options, to, pipeline_id=pipeline_id, limit=limit, lease_s=lease_s
        )
    else:
        loop = _item_loop(
            Processing.of(function), to, function_id=function_id, limit=limit, lease_s=lease_s
        )
    loop.poll_interval_s, loop.drain_s = poll_interval_s, drain_s
    if handles_signals:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, loop.stop)
    try:
        return await loop.run(once=once)
    finally:
        await loop.transport.aclose()


def start_worker(function: Callable[..., Any], **options: Any) -> int:
    """Run :func:`run_worker` in an event loop of its own."""
    return asyncio.run(run_worker(function, **options))


def _stage_loop(
    function: Callable[..., Any],
    options: StageOptions,
    to: Connection,
    *,
    pipeline_id: str | None,
    limit: int | None,
    lease_s: int | None,
) -> StageLoop:
    name = pipeline_id or options.pipeline_id or os.environ.get("HEVLAYER_PIPELINE_ID")
    if not name:
        raise ValueError(
            "which pipeline? give id= to @pipeline_stage, pipeline_id=, or HEVLAYER_PIPELINE_ID"
        )
    return StageLoop(
        function=function,
        options=options,
        transport=open_documents(to, name),
        limit=limit or options.batch_size or STAGE_BATCH_SIZE_DEFAULT,
        lease_s=lease_s or STAGE_LEASE_S_DEFAULT,
    )


def _item_loop(
    processing: Processing,
    to: Connection,
    *,
    function_id: str | None,
    limit: int | None,
    lease_s: int | None,
) -> WorkerLoop:
    name = function_id or processing.id or os.environ.get("HEVLAYER_UDF_ID")
    if not name:
        raise ValueError("which function? give id= to @udf, function_id=, or HEVLAYER_UDF_ID")
    return WorkerLoop(
        processing=processing,
        transport=open_functions(to, name),
        limit=limit or _number("HEVLAYER_UDF_BATCH_SIZE") or processing.batch_size,
        lease_s=lease_s or _number("HEVLAYER_UDF_LEASE_SECONDS") or LEASE_S_DEFAULT,
    )


def _number(variable: str) -> int | None:
    text = os.environ.get(variable, "")
    if text and not (text.isascii() and text.isdecimal() and int(text)):
        raise ValueError(f"{variable} {text!r} is no number of at least 1")
    return int(text) if text else None
