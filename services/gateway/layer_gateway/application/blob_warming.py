"""Bringing the blobs that rows refer to into the cache (docs/reference/http.md, "Warm")."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec
import structlog

from layer_gateway.application.blobs import Blobs
from layer_gateway.application.facts import Facts
from layer_gateway.application.room_for_jobs import check_room
from layer_gateway.application.streaming import RowStream, StreamRows
from layer_gateway.ports.stores import Caller
from layer_kit.errors import CacheColdError, InvalidRequestError, LayerError, NotFoundError
from layer_kit.lost_errors import report_lost
from layer_kit.names import Namespace
from layer_wire.jsontext import RawObject

log = structlog.get_logger(__name__)

ANSWER_S_MAX: Final = 20.0
"""Then the answer is what was done so far, and the rest goes on."""

REFERENCES_MAX: Final = 100_000
"""Blobs of one warming; they are remembered so that each is copied once."""

AT_ONCE_MAX: Final = 8
RUNNING_MAX: Final = 32
"""Namespaces whose blobs one gateway brings in at once."""

ANY_NAMESPACE: Final = "*"

_REFERENCE: Final = re.compile(r"blob://([^/]+)/([0-9a-f]{64})")
_VALUES: Final[msgspec.json.Decoder[str | list[str | None] | None]] = msgspec.json.Decoder(
    str | list[str | None] | None
)


@dataclass(slots=True, kw_only=True)
class WarmedBlobs:
    """What a warming has done so far."""

    attributes: Sequence[str]
    budget_bytes: int
    is_over: bool = False
    documents_scanned: int = 0
    refs_seen: int = 0
    objects: int = 0
    bytes: int = 0
    missing: int = 0
    invalid_refs: int = 0
    budget_exhausted: bool = False


class BlobReferences:
    """Which attributes refer to blobs: by namespace, and of all others under ``*``."""

    def __init__(self, declared: Mapping[str, Sequence[str]]) -> None:
        self._declared = declared

    def of(self, namespace: Namespace) -> Sequence[str]:
        """Return the attributes of a namespace.

        Raises:
            InvalidRequestError: ``NO_REFERENCE_ATTRIBUTES``.
        """
        found = self._declared.get(namespace, self._declared.get(ANY_NAMESPACE, ()))
        if not found:
            raise InvalidRequestError(
                "NO_REFERENCE_ATTRIBUTES",
                "blobs=true needs the attributes that refer to blobs, and this namespace has none "
                "configured.",
                field="blobs",
            )
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmBlobs:
    """Reads what rows refer to and copies it, once at a time for each namespace."""

    blobs: Blobs
    facts: Facts
    stream_rows: StreamRows
    references: BlobReferences
    _running: dict[Namespace, tuple[asyncio.Task[None], WarmedBlobs]] = field(default_factory=dict)

    async def __call__(
        self, namespace: Namespace, caller: Caller, *, budget_bytes: int, page_size: int
    ) -> WarmedBlobs:
        """Warm the blobs of a namespace, or follow who does; answer once done or after a while.

        Raises:
            InvalidRequestError: ``NO_REFERENCE_ATTRIBUTES``.
            NotConfiguredError: ``NO_OBJECT_STORE``.
            NotFoundError: ``NAMESPACE_NOT_FOUND``.
            CacheColdError: ``CACHE_AWAY``.
            QuotaExceededError: ``TOO_MANY_JOBS``.
            LayerError: What the store or the object store has against it.
        """
        attributes = self.references.of(namespace)
        running = self._running.get(namespace)
        if running is None:
            check_room(self._running, RUNNING_MAX, "warmings of blobs")
            done = WarmedBlobs(attributes=attributes, budget_bytes=budget_bytes)
            task = asyncio.create_task(self._run(namespace, caller, done, page_size))
            running = self._running[namespace] = (task, done)
            task.add_done_callback(lambda ended: self._ended(namespace, ended))
        task, done = running
        await asyncio.wait([task], timeout=ANSWER_S_MAX)
        if task.done():
            await task
        return done

    async def aclose(self) -> None:
        """Give up what runs."""
        tasks = [task for task, _ in self._running.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, namespace: Namespace, task: asyncio.Task[None]) -> None:
        self._running.pop(namespace, None)
        if not task.cancelled() and isinstance(error := task.exception(), LayerError):
            log.info("blobs_not_warmed", namespace=namespace, reason=error.reason)
        else:
            report_lost(task)

    async def _run(
        self, namespace: Namespace, caller: Caller, done: WarmedBlobs, page_size: int
    ) -> None:
        types = (await self.facts.covering(namespace, done.attributes, caller)).types
        names = [name for name in done.attributes if name in types]
        wanted = RowStream(
            filter=None, names=names, with_vectors=False, after=None, page_size=page_size
        )
        seen: set[str] = set()
        async for page in self.stream_rows(namespace, wanted, caller):
            found = dict.fromkeys(
                sha256
                for row in page
                for sha256 in _referred(namespace, row, names, done)
                if sha256 not in seen
            )
            seen.update(found)
            done.documents_scanned += len(page)
            await self._copy_all(namespace, list(found), done)
            done.budget_exhausted |= len(seen) > REFERENCES_MAX
            if done.budget_exhausted:
                break
        done.is_over = True

    async def _copy_all(self, namespace: Namespace, wanted: list[str], done: WarmedBlobs) -> None:
        for at in range(0, len(wanted), AT_ONCE_MAX):
            await asyncio.gather(
                *(self._copy(namespace, sha256, done) for sha256 in wanted[at : at + AT_ONCE_MAX])
            )
            if done.budget_exhausted:
                return

    async def _copy(self, namespace: Namespace, sha256: str, done: WarmedBlobs) -> None:
        try:
            size_bytes = (await self.blobs.describe(namespace, sha256)).size_bytes
            if done.bytes + size_bytes > done.budget_bytes:
                done.budget_exhausted = True
                return
            done.bytes += size_bytes
            done.objects += 1
            body = (await self.blobs.get(namespace, sha256)).body
        except NotFoundError:
            done.missing += 1
            return
        if not await self.blobs.copy(namespace, sha256, body):
            raise CacheColdError(
                "CACHE_AWAY", "The document cache is away; try again later.", cache_state="cold"
            )


def _referred(
    namespace: Namespace, row: RawObject, names: Sequence[str], done: WarmedBlobs
) -> Iterator[str]:
    """Yield the blobs that a row refers to, and count what is no reference to one of its own."""
    for name in names:
        if name not in row:
            continue
        try:
            values = _VALUES.decode(row[name])
        except (msgspec.DecodeError, UnicodeDecodeError):
            done.invalid_refs += 1
            continue
        for value in values if isinstance(values, list) else [values]:
            if value is None:
                continue
            done.refs_seen += 1
            match = _REFERENCE.fullmatch(value)
            if match is None or match[1] != namespace:
                done.invalid_refs += 1
            else:
                yield match[2]
