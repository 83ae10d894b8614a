"""The loop of a stage of a pipeline: claim documents, process their chunks, write their rows."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from layer_sdk.connection import Connection
from layer_sdk.decorators import StageOptions
from layer_sdk.http import HttpClient
from layer_sdk.items import Chunk, Document, Row
from layer_sdk.processing import is_permanent
from layer_sdk.transport import Refused, Unavailable

log = logging.getLogger("layer_sdk")

STAGE_LEASE_S_DEFAULT: Final = 900
STAGE_BATCH_SIZE_DEFAULT: Final = 8


async def run_stage(
    function: Callable[..., Any],
    options: StageOptions,
    to: Connection,
    *,
    limit: int,
    lease_s: int,
    poll_interval_s: float,
    once: bool,
    stopping: asyncio.Event,
) -> int:
    """Work on documents until told to stop; return how many were completed."""
    pipeline_id = options.pipeline_id or os.environ.get("HEVLAYER_PIPELINE_ID")
    if not pipeline_id:
        raise ValueError("which pipeline? give id= to @pipeline_stage, or HEVLAYER_PIPELINE_ID")
    client = HttpClient(to)
    stage = _Stage(
        function=function,
        options=options,
        client=client,
        path=f"/v2/pipelines/{quote(pipeline_id, safe='')}",
        worker_id=to.worker_id,
        lease_s=lease_s,
    )
    completed_count = 0
    try:
        while not stopping.is_set():
            try:
                ids = await stage.claim(limit)
            except Unavailable as error:
                log.warning("cannot claim: %s", error)
                if once:
                    raise
                ids = []
            if ids:
                completed_count += await stage.batch(ids, stopping)
            elif once:
                break
            else:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stopping.wait(), poll_interval_s)
    finally:
        await client.aclose()
    return completed_count


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stage:
    function: Callable[..., Any]
    options: StageOptions
    client: HttpClient
    path: str
    worker_id: str
    lease_s: int

    async def claim(self, limit: int) -> list[str]:
        body = {
            "stage": self.options.stage,
            "claim_stage": self.options.claim_stage,
            "limit": limit,
            "worker_id": self.worker_id,
            "lease_seconds": self.lease_s,
        }
        answer = await self.client.call("POST", f"{self.path}/claim", body)
        return list(answer["documents"])

    async def batch(self, ids: Sequence[str], stopping: asyncio.Event) -> int:
        """Process documents; what is left when told to stop is given back."""
        left = list(ids)
        heart = asyncio.create_task(self._beat(left))
        completed_count = 0
        try:
            for id_ in ids:
                if stopping.is_set():
                    break
                completed_count += await self._document(id_)
                left.remove(id_)
        finally:
            heart.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await heart
        if left:
            await self._move(left, "pending")
        return completed_count

    async def _document(self, id_: str) -> int:
        path = f"{self.path}/documents/{quote(id_, safe='')}"
        try:
            found = await self.client.call("GET", f"{path}/chunks")
            chunks = [Chunk(one["id"], one.get("text"), one.get("metadata")) for one in found]
            rows = await self._called(Document(id_, chunks))
            if rows:
                body = {"vectors": [_row(row) for row in rows]}
                await self.client.call("PUT", f"{path}/vectors", body)
            else:
                await self._move([id_], self.options.next_stage)
        except Unavailable as error:
            log.warning("document %s is given back: %s", id_, error)
            await self._move([id_], "pending")
            return 0
        except Exception as error:  # noqa: BLE001 -- whatever it raises is its document's failure
            is_final = is_permanent(error) or isinstance(error, Refused)
            log.warning("document %s failed: %s", id_, error)
            await self._move([id_], "failed" if is_final else "pending")
            return 0
        return 1

    async def _called(self, document: Document) -> Sequence[Row]:
        if inspect.iscoroutinefunction(self.function):
            found = await self.function(document)
        else:
            found = await asyncio.to_thread(self.function, document)
        return list(found or ())

    async def _move(self, ids: Sequence[str], stage: str) -> None:
        body = {
            "document_ids": list(ids),
            "stage": stage,
            "from_stage": self.options.claim_stage,
            "worker_id": self.worker_id,
        }
        with contextlib.suppress(Unavailable):  # then the lease runs out
            await self.client.call("POST", f"{self.path}/documents/stage", body)

    async def _beat(self, left: Sequence[str]) -> None:
        while True:
            await asyncio.sleep(self.lease_s / 3)
            body = {
                "document_ids": list(left),
                "stage": self.options.claim_stage,
                "worker_id": self.worker_id,
            }
            try:
                await self.client.call("POST", f"{self.path}/documents/heartbeat", body)
            except (Unavailable, Refused) as error:
                log.warning("cannot renew leases: %s", error)


def _row(row: Row) -> dict[str, Any]:
    found: dict[str, Any] = {"id": row.id, "attributes": dict(row.attributes)}
    if row.vector is not None:
        found["vector"] = [float(component) for component in row.vector]
    if row.vectors is not None:
        found["vectors"] = [[float(one) for one in vector] for vector in row.vectors]
    return found
