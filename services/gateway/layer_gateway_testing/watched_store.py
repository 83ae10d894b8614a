"""A store whose index is watched, and clocks that a test moves."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

from layer_gateway.application.stamps import Stamps
from layer_gateway.application.watched import WatchSettings
from layer_gateway.application.watermarks import Watermarks
from layer_gateway.ports.stores import Caller, Headers, Store, StoreAnswer
from layer_gateway.ports.watching import Mark, SharedMarks
from layer_kit.names import Namespace
from layer_wire.metadata import IndexStatus

TOOLS = Namespace("tools")
ANN = Caller(headers=[(b"authorization", b"Bearer ann"), (b"traceparent", b"00-1-2-01")])
BOB = Caller(headers=[(b"authorization", b"Bearer bob")])
UP_TO_DATE = {"index": {"status": "up-to-date"}}
UPDATING = {"index": {"status": "updating", "unindexed_bytes": 812}}


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes
    headers: Headers = ()


class Table(dict[Namespace, Mark]):
    """What several processes share."""

    def read(self, namespace: Namespace) -> Mark | None:
        return self.get(namespace)

    def publish(self, mark: Mark) -> None:
        self[mark.namespace] = mark

    def forget(self, namespace: Namespace, at_ms: int) -> None:
        self[namespace] = Mark(
            namespace=namespace,
            status=IndexStatus.UNKNOWN,
            watermark_ms=None,
            polled_at_ms=at_ms,
            is_deleted=True,
        )


@dataclass
class World:
    """A store that says what a test lets it say, and clocks that a test moves."""

    metadata_body: object = field(default_factory=lambda: UP_TO_DATE)
    status: int = 200
    fault: Exception | None = None
    wall_ms: int = 1_780_000_000_000
    monotonic_s: float = 100.0
    is_open: asyncio.Event = field(default_factory=asyncio.Event)
    was_asked: asyncio.Event = field(default_factory=asyncio.Event)
    asked: list[tuple[Namespace, Headers]] = field(default_factory=list)
    asking_max: int = 0
    shared: SharedMarks | None = None
    results: Counter[str] = field(default_factory=Counter)
    advanced: list[tuple[Namespace, int, bytes]] = field(default_factory=list)
    deleted: list[Namespace] = field(default_factory=list)
    _asking: int = 0

    def __post_init__(self) -> None:
        self.is_open.set()
        self.stamps = Stamps(lambda: self.wall_ms)
        self.watermarks = Watermarks(
            cast("Store", self),
            self.stamps,
            WatchSettings(),
            monotonic=lambda: self.monotonic_s,
            polled=lambda result: self.results.update([result]),
            advanced=lambda *told: self.advanced.append(told),
            deleted=self.deleted.append,
            shared=self.shared,
            random_share=lambda: 0.0,
        )

    async def metadata(self, namespace: Namespace, caller: Caller) -> StoreAnswer:
        self.asked.append((namespace, caller.headers))
        self.was_asked.set()
        self._asking += 1
        self.asking_max = max(self.asking_max, self._asking)
        try:
            await self.is_open.wait()
        finally:
            self._asking -= 1
        if self.fault is not None:
            raise self.fault
        body = self.metadata_body
        return Answer(self.status, body if isinstance(body, bytes) else json.dumps(body).encode())

    async def poll(self) -> None:
        await self.watermarks.poll()
        await self.watermarks.settled()

    async def polls_after(self, seconds: float) -> int:
        """Tell how many polls a turn makes that comes ``seconds`` later."""
        self.monotonic_s += seconds
        self.wall_ms += round(seconds * 1000)
        before = len(self.asked)
        await self.poll()
        return len(self.asked) - before

    def is_updating(self) -> bool:
        return self.watermarks.cut(TOOLS).is_updating

    def stable_as_of(self) -> int | None:
        return self.watermarks.cut(TOOLS).stable_as_of_ms


async def started(world: World) -> Callable[[], None]:
    """Start a poll that the store does not answer until the returned call."""
    world.is_open.clear()
    await world.watermarks.poll()
    await world.was_asked.wait()
    return world.is_open.set
