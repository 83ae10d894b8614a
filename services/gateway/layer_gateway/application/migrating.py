"""Moving a namespace into shards to the end, where ``init`` does a part at each call.

What was done is kept in ``shards/{ns}/manifest.json`` after every part, so that any gateway goes on
where another one stopped.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Annotated, Final

import msgspec
import structlog

from layer_gateway.application.initialising import InitNamespace, check_same
from layer_gateway.application.room_for_jobs import check_room
from layer_gateway.application.sharding import SHARD_COUNT_MAX, manifest_key
from layer_gateway.ports.stores import Caller
from layer_kit.clock import EpochMilliseconds
from layer_kit.errors import LayerError, UpstreamError
from layer_kit.lost_errors import report_lost
from layer_kit.names import Namespace
from layer_objects import ObjectStore
from layer_wire.moments import rfc3339

log = structlog.get_logger(__name__)

ANSWER_S_MAX: Final = 10.0
"""Then the answer is what was done so far, and the rest goes on."""

PAUSE_S: Final = 1.0
PAUSE_S_MAX: Final = 30.0
ATTEMPTS_MAX: Final = 8
"""How often in a row the store may fail before a migration waits for the next call."""

RUNNING_MAX: Final = 32
"""Namespaces that one gateway moves at once."""

SCHEMA_VERSION: Final = 1


class Manifest(msgspec.Struct, kw_only=True):
    """How a namespace came into shards."""

    namespace: str
    shard_count: Annotated[int, msgspec.Meta(ge=1, le=SHARD_COUNT_MAX)]
    completed_at: str | None = None
    documents_migrated: Annotated[int, msgspec.Meta(ge=0)] = 0


_MANIFEST: Final[msgspec.json.Decoder[Manifest]] = msgspec.json.Decoder(Manifest)


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrateNamespace:
    """Moves namespaces into shards, each once at a time."""

    init_namespace: InitNamespace
    objects: ObjectStore | None
    shard_count_default: int
    now_ms: EpochMilliseconds
    _running: dict[Namespace, asyncio.Task[Manifest]] = field(default_factory=dict)
    _known: dict[Namespace, Manifest] = field(default_factory=dict)
    """Of those that run, what was done so far."""

    async def __call__(
        self, namespace: Namespace, shard_count: int | None, caller: Caller
    ) -> Manifest:
        """Begin a migration, or follow the one that runs; return it done, or so far.

        Args:
            shard_count: None is the number of before, or that of the settings.

        Raises:
            QuotaExceededError: ``TOO_MANY_JOBS``.
            LayerError: Those of ``InitNamespace``, and the object store's own.
        """
        if namespace not in self._running:
            check_room(self._running, RUNNING_MAX, "migrations")
            # The first part tells the caller what is wrong with the request.
            manifest = await self._part(namespace, shard_count, caller)
            if manifest.completed_at is not None:
                return manifest
        task = self._running.get(namespace)
        if task is None:
            check_room(self._running, RUNNING_MAX, "migrations")  # others began meanwhile
            task = asyncio.create_task(self._go_on(namespace, caller))
            self._running[namespace] = task
            task.add_done_callback(lambda ended: self._ended(namespace, ended))
        else:
            check_same(namespace, self._known[namespace].shard_count, shard_count)
        await asyncio.wait([task], timeout=ANSWER_S_MAX)
        return task.result() if task.done() else self._known[namespace]

    async def aclose(self) -> None:
        """Give up what runs; the next call goes on from there."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _go_on(self, namespace: Namespace, caller: Caller) -> Manifest:
        """Do part after part, with a longer pause after each that fails."""
        failures_count = 0
        while True:
            try:
                manifest = await self._part(namespace, None, caller)
            except UpstreamError as error:
                failures_count += 1
                if failures_count >= ATTEMPTS_MAX:
                    raise
                log.info("migration_paused", namespace=namespace, reason=error.reason)
                await asyncio.sleep(min(PAUSE_S_MAX, PAUSE_S * 2**failures_count))
                continue
            failures_count = 0
            if manifest.completed_at is not None:
                return manifest
            # What a write brings meanwhile is taken in by the next part.
            await asyncio.sleep(PAUSE_S)

    async def _part(
        self, namespace: Namespace, shard_count: int | None, caller: Caller
    ) -> Manifest:
        """Give shards to as many rows as one call of ``init`` does, and keep what was done."""
        moved_count = 0

        def count(rows_count: int) -> None:
            nonlocal moved_count
            moved_count += rows_count

        state = await self.init_namespace(
            namespace,
            schema_version=SCHEMA_VERSION,
            shard_count=shard_count,
            caller=caller,
            assigned=count,
        )
        if state.shard_count is None:
            state = await self.init_namespace(
                namespace,
                schema_version=SCHEMA_VERSION,
                shard_count=self.shard_count_default,
                caller=caller,
                assigned=count,
            )
        assert state.shard_count is not None
        before = await self._read(namespace, state.shard_count)
        is_done = state.init_state == "ready"
        manifest = msgspec.structs.replace(
            before,
            documents_migrated=before.documents_migrated + moved_count,
            completed_at=(before.completed_at or rfc3339(self.now_ms())) if is_done else None,
        )
        await self._keep(namespace, manifest)
        return manifest

    async def _read(self, namespace: Namespace, shard_count: int) -> Manifest:
        """Return what was done before; what cannot be read counts for nothing."""
        fresh = Manifest(namespace=namespace, shard_count=shard_count)
        known = self._known.get(namespace)
        if known is not None and known.shard_count == shard_count:
            return known
        found = None if self.objects is None else await self.objects.get(manifest_key(namespace))
        if found is None:
            return fresh
        try:
            manifest = _MANIFEST.decode(found.body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return fresh
        return manifest if manifest.shard_count == shard_count else fresh

    async def _keep(self, namespace: Namespace, manifest: Manifest) -> None:
        # Whoever follows hears that it is done once that is kept.
        self._known[namespace] = msgspec.structs.replace(manifest, completed_at=None)
        if self.objects is not None:
            await self.objects.put(
                manifest_key(namespace),
                msgspec.json.encode(manifest),
                content_type="application/json",
            )
        if manifest.completed_at is not None:
            self._known.pop(namespace, None)

    def _ended(self, namespace: Namespace, task: asyncio.Task[Manifest]) -> None:
        self._running.pop(namespace, None)
        self._known.pop(namespace, None)
        if not task.cancelled() and isinstance(error := task.exception(), LayerError):
            log.warning("migration_stopped", namespace=namespace, reason=error.reason)
        else:
            report_lost(task)
