"""What replicas know of a namespace together: who is at it, when last, and which is the latest.

One object for each namespace, replaced only by whoever has read what it replaces. A lease that a
crashed process has left runs out by itself. Nothing rests on the lease but work saved: snapshots
are named by what they say, and of any number of writers of one name one wins.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec
import structlog

from layer_kit.clock import EpochMilliseconds
from layer_kit.errors import PreconditionError
from layer_kit.names import Namespace
from layer_objects import ObjectStore
from layer_snapshots.domain.keys import SnapshotName, state_key

log = structlog.get_logger(__name__)


class State(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a namespace, as it is stored."""

    owner: str = ""
    """The process that takes a snapshot now; empty when none does."""
    lease_until_ms: int = 0
    attempted_ms: int = 0
    """When the last attempt began."""
    snapshot_ms: int = 0
    """When the last one succeeded, whether or not anything had changed."""
    counted_through_ms: int = 0
    """The watermark of that."""
    latest_ms: int | None = None
    """The watermark in the name of the latest snapshot; None while there is none."""
    latest_sha: str = ""

    @property
    def latest(self) -> SnapshotName | None:
        return None if self.latest_ms is None else SnapshotName(self.latest_ms, self.latest_sha)


@dataclass(frozen=True, slots=True)
class Held:
    """A state as it was read or written, which may be replaced while nobody else has."""

    state: State
    etag: str | None


_STATE: Final[msgspec.json.Decoder[State]] = msgspec.json.Decoder(State)


@dataclass(frozen=True, slots=True, kw_only=True)
class States:
    """Reads states, and replaces them.

    Args:
        owner: A name of this process that no other has, nor its successor.
        lease_ms: How long a lease holds from when it was last renewed.
    """

    objects: ObjectStore
    owner: str
    lease_ms: int
    now_ms: EpochMilliseconds

    async def read(self, namespace: Namespace) -> Held:
        found = await self.objects.get(state_key(namespace))
        if found is None:
            return Held(State(), None)
        try:
            return Held(_STATE.decode(found.body), found.info.etag)
        except (msgspec.DecodeError, UnicodeDecodeError):
            log.warning("state_unreadable", namespace=namespace)
            return Held(State(), found.info.etag)

    def is_free(self, state: State) -> bool:
        """Tell whether nobody else is at a namespace."""
        return state.owner in ("", self.owner) or state.lease_until_ms <= self.now_ms()

    async def acquire(self, namespace: Namespace, held: Held) -> Held | None:
        """Begin an attempt; None when another process was faster."""
        now_ms = self.now_ms()
        begun = msgspec.structs.replace(
            held.state,
            owner=self.owner,
            lease_until_ms=now_ms + self.lease_ms,
            attempted_ms=now_ms,
        )
        return await self._replace(namespace, held, begun)

    async def renew(self, namespace: Namespace, held: Held) -> Held | None:
        """Keep a lease; None when it was lost, or the namespace was purged."""
        until_ms = self.now_ms() + self.lease_ms
        renewed = msgspec.structs.replace(held.state, lease_until_ms=until_ms)
        return await self._replace(namespace, held, renewed)

    async def succeed(
        self, namespace: Namespace, held: Held, watermark_ms: int, latest: SnapshotName
    ) -> Held | None:
        """End an attempt that has come to a snapshot; None as for :meth:`renew`."""
        ended = msgspec.structs.replace(
            held.state,
            owner="",
            lease_until_ms=0,
            snapshot_ms=self.now_ms(),
            counted_through_ms=watermark_ms,
            latest_ms=latest.watermark_ms,
            latest_sha=latest.short_sha,
        )
        return await self._replace(namespace, held, ended)

    async def fail(self, namespace: Namespace, held: Held) -> None:
        """End an attempt that has come to nothing."""
        ended = msgspec.structs.replace(held.state, owner="", lease_until_ms=0)
        await self._replace(namespace, held, ended)

    async def forget(self, namespace: Namespace) -> None:
        await self.objects.delete(state_key(namespace))

    async def _replace(self, namespace: Namespace, held: Held, state: State) -> Held | None:
        try:
            info = await self.objects.put(
                state_key(namespace),
                msgspec.json.encode(state),
                content_type="application/json",
                if_absent=held.etag is None,
                if_match=held.etag,
            )
        except PreconditionError:
            return None
        return Held(state, info.etag)
