"""Warmth and records of the cache over gRPC. A namespace is as warm as the coldest replica."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from layer.cache.v1 import cache_pb2, cache_pb2_grpc
from layer_gateway.adapters.replicated_rows import Ring
from layer_gateway.domain.warmth import NamespaceWarmth, WarmState
from layer_gateway.ports.warmth import RecordKind, Warming
from layer_kit.names import Namespace
from layer_kit.rpc.client import invoke

log = structlog.get_logger(__name__)

TIMEOUT_S: Final = 2.0
RECORD_TIMEOUT_S: Final = 5.0
RECORD_READ_TIMEOUT_S: Final = 1.0
RECORD_BYTES_MAX: Final = 16 * 1024 * 1024

_STATES: Final[Mapping[int, WarmState]] = {
    cache_pb2.WARM_STATE_COLD: WarmState.COLD,
    cache_pb2.WARM_STATE_WARMING: WarmState.WARMING,
    cache_pb2.WARM_STATE_WARM: WarmState.WARM,
}
_KINDS: Final = {
    RecordKind.SNAPSHOT: cache_pb2.RECORD_KIND_SNAPSHOT,
    RecordKind.BLOB: cache_pb2.RECORD_KIND_BLOB,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmingEverywhere:
    """A warming under its id on each replica."""

    namespace: Namespace
    warm_ids: Sequence[str]


class WarmthClient:
    """Implements ``CacheWarmth`` over every replica of the cache."""

    def __init__(self, stubs: Sequence[cache_pb2_grpc.WarmthServiceStub]) -> None:
        self._stubs = stubs
        self._last_answers = [cache_pb2.GetWarmthResponse() for _ in stubs]
        self._last_states: dict[Namespace, NamespaceWarmth] = {}
        """What those answers say together."""

    async def begin(self, namespace: Namespace) -> WarmingEverywhere | None:
        request = cache_pb2.BeginWarmingRequest(namespace=namespace)
        answers = await asyncio.gather(
            *(invoke(stub.BeginWarming, request, timeout_s=TIMEOUT_S) for stub in self._stubs)
        )
        warming = WarmingEverywhere(
            namespace=namespace, warm_ids=[answer.warm_id for answer in answers]
        )
        if all(warming.warm_ids):
            return warming
        await self.give_up(warming)
        return None

    async def report(self, warming: Warming) -> None:
        await asyncio.gather(
            *(
                invoke(
                    stub.ReportWarming,
                    cache_pb2.ReportWarmingRequest(namespace=warming.namespace, warm_id=warm_id),
                    timeout_s=TIMEOUT_S,
                )
                for stub, warm_id in self._each(warming)
            )
        )

    async def finish(self, warming: Warming, warmed_through_ms: int) -> bool:
        return await self._finish(warming, warmed_through_ms)

    async def give_up(self, warming: Warming) -> None:
        await self._finish(warming, None)

    async def states(
        self, namespaces: Sequence[Namespace] = ()
    ) -> dict[Namespace, NamespaceWarmth]:
        if not namespaces:
            return await self._all_states()
        request = cache_pb2.GetWarmthRequest(namespaces=namespaces)
        return self._together(
            await asyncio.gather(
                *(invoke(stub.GetWarmth, request, timeout_s=TIMEOUT_S) for stub in self._stubs)
            )
        )

    async def _all_states(self) -> dict[Namespace, NamespaceWarmth]:
        """Ask every replica for what has changed since it was last asked, which is seldom much."""
        answers = await asyncio.gather(
            *(
                invoke(
                    stub.GetWarmth,
                    cache_pb2.GetWarmthRequest(known_revision=last.revision),
                    timeout_s=TIMEOUT_S,
                )
                for stub, last in zip(self._stubs, self._last_answers, strict=True)
            )
        )
        if not all(answer.is_unchanged for answer in answers):
            self._last_answers = [
                last if answer.is_unchanged else answer
                for answer, last in zip(answers, self._last_answers, strict=True)
            ]
            self._last_states = self._together(self._last_answers)
        return self._last_states

    def _together(
        self, answers: Sequence[cache_pb2.GetWarmthResponse]
    ) -> dict[Namespace, NamespaceWarmth]:
        found: dict[Namespace, list[cache_pb2.NamespaceWarmth]] = {}
        for answer in answers:
            for one in answer.namespaces:
                found.setdefault(Namespace(one.namespace), []).append(one)
        return {namespace: _joined(states, len(self._stubs)) for namespace, states in found.items()}

    async def _finish(self, warming: Warming, warmed_through_ms: int | None) -> bool:
        answers = await asyncio.gather(
            *(
                invoke(
                    stub.FinishWarming,
                    cache_pb2.FinishWarmingRequest(
                        namespace=warming.namespace,
                        warm_id=warm_id,
                        warmed_through_ms=warmed_through_ms,
                    ),
                    timeout_s=TIMEOUT_S,
                )
                for stub, warm_id in self._each(warming)
            )
        )
        return all(answer.is_warm for answer in answers)

    def _each(self, warming: Warming) -> list[tuple[cache_pb2_grpc.WarmthServiceStub, str]]:
        if not isinstance(warming, WarmingEverywhere):
            raise TypeError("a warming ends at the adapter that began it")
        return list(zip(self._stubs, warming.warm_ids, strict=True))


class NoWarmth:
    """Implements ``CacheWarmth`` where there is no cache: everything is cold."""

    async def begin(self, namespace: Namespace) -> Warming | None:
        return None

    async def report(self, warming: Warming) -> None:
        return

    async def finish(self, warming: Warming, warmed_through_ms: int) -> bool:
        return False

    async def give_up(self, warming: Warming) -> None:
        return

    async def states(
        self, namespaces: Sequence[Namespace] = ()
    ) -> dict[Namespace, NamespaceWarmth]:
        return {}


class RecordsClient:
    """Implements ``RecordCache``; each scope has its records on one replica, each blob its own."""

    def __init__(self, stubs: Mapping[str, cache_pb2_grpc.RecordServiceStub]) -> None:
        self._stubs = list(stubs.values())
        self._ring = Ring(list(stubs))

    async def put(self, kind: RecordKind, scope: str, key: bytes, value: bytes) -> None:
        if not self._stubs:
            return
        stub, place = self._stub(kind, scope, key), _KINDS[kind]
        if len(value) > RECORD_BYTES_MAX:  # an older one must not stay in its place
            log.info("record_too_large", kind=kind.value, scope=scope, size_bytes=len(value))
            delete = cache_pb2.DeleteRecordsRequest(kind=place, scope=scope, keys=[key])
            await invoke(stub.DeleteRecords, delete, timeout_s=RECORD_TIMEOUT_S)
            return
        put = cache_pb2.PutRecordsRequest(kind=place, scope=scope, keys=[key], values=[value])
        await invoke(stub.PutRecords, put, timeout_s=RECORD_TIMEOUT_S)

    async def get(self, kind: RecordKind, scope: str, key: bytes) -> bytes | None:
        if not self._stubs:
            return None
        request = cache_pb2.GetRecordsRequest(kind=_KINDS[kind], scope=scope, keys=[key])
        stub = self._stub(kind, scope, key)
        answer = await invoke(stub.GetRecords, request, timeout_s=RECORD_READ_TIMEOUT_S)
        return answer.values[0] if answer.values else None

    def _stub(self, kind: RecordKind, scope: str, key: bytes) -> cache_pb2_grpc.RecordServiceStub:
        place = scope.encode() + b"/" + key if kind is RecordKind.BLOB else scope.encode()
        return self._stubs[self._ring.owner(place)]


def _joined(states: Sequence[cache_pb2.NamespaceWarmth], replicas_count: int) -> NamespaceWarmth:
    warm = [one.warmed_through_ms for one in states if one.HasField("warmed_through_ms")]
    is_warm = len(warm) == replicas_count
    state = WarmState.WARM if is_warm else WarmState.COLD
    if any(_STATES[one.state] is WarmState.WARMING for one in states):
        state = WarmState.WARMING
    return NamespaceWarmth(
        state=state,
        warmed_through_ms=min(warm) if is_warm else None,
        numbers=tuple(one.warm_number for one in states),
    )
