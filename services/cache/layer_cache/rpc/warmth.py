"""The gRPC edge of warmth: parse, call, render."""

# ruff: noqa: N802 -- the proto names the methods

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from layer.cache.v1 import cache_pb2, cache_pb2_grpc
from layer_cache.application.warmth import NamespaceWarmth, WarmState, Warmth
from layer_cache.application.writes import Writes
from layer_cache.domain.limits import MOMENT_MS_MAX, NAMESPACES_PER_CALL_MAX
from layer_kit.errors import InvalidRequestError
from layer_kit.names import parse_namespace

STATES: Final[Mapping[WarmState, cache_pb2.WarmState.ValueType]] = {
    WarmState.COLD: cache_pb2.WARM_STATE_COLD,
    WarmState.WARMING: cache_pb2.WARM_STATE_WARMING,
    WarmState.WARM: cache_pb2.WARM_STATE_WARM,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmthServicer(cache_pb2_grpc.WarmthServiceServicer):
    """Serves ``layer.cache.v1.WarmthService``."""

    warmth: Warmth
    writes: Writes

    async def BeginWarming(
        self, request: cache_pb2.BeginWarmingRequest, context: object
    ) -> cache_pb2.BeginWarmingResponse:
        warm_id = self.warmth.begin(parse_namespace(request.namespace))
        return cache_pb2.BeginWarmingResponse(warm_id=warm_id or "")

    async def ReportWarming(
        self, request: cache_pb2.ReportWarmingRequest, context: object
    ) -> cache_pb2.ReportWarmingResponse:
        self.warmth.report(parse_namespace(request.namespace), request.warm_id)
        return cache_pb2.ReportWarmingResponse()

    async def FinishWarming(
        self, request: cache_pb2.FinishWarmingRequest, context: object
    ) -> cache_pb2.FinishWarmingResponse:
        namespace = parse_namespace(request.namespace)
        if not request.HasField("warmed_through_ms"):
            self.warmth.give_up(namespace, request.warm_id)
            return cache_pb2.FinishWarmingResponse()
        if not 0 <= request.warmed_through_ms <= MOMENT_MS_MAX:
            raise InvalidRequestError(
                "MOMENT_OUT_OF_RANGE",
                f"warmed_through_ms must be within 0 and {MOMENT_MS_MAX}.",
                field="warmed_through_ms",
            )
        is_warm = await self.warmth.finish(namespace, request.warm_id, request.warmed_through_ms)
        return cache_pb2.FinishWarmingResponse(is_warm=is_warm)

    async def GetWarmth(
        self, request: cache_pb2.GetWarmthRequest, context: object
    ) -> cache_pb2.GetWarmthResponse:
        if len(request.namespaces) > NAMESPACES_PER_CALL_MAX:
            raise InvalidRequestError(
                "TOO_MANY_NAMESPACES",
                f"Name at most {NAMESPACES_PER_CALL_MAX} namespaces, or none for all.",
                count_max=NAMESPACES_PER_CALL_MAX,
            )
        if request.namespaces:
            namespaces = list(map(parse_namespace, request.namespaces))
            await self.writes.settled(namespaces)
            found = await self.warmth.states(namespaces)
            return cache_pb2.GetWarmthResponse(namespaces=map(_message, found))
        await self.warmth.check()
        revision = self.warmth.revision
        if request.known_revision == revision:
            return cache_pb2.GetWarmthResponse(revision=revision, is_unchanged=True)
        found = await self.warmth.states()
        return cache_pb2.GetWarmthResponse(namespaces=map(_message, found), revision=revision)


def _message(found: NamespaceWarmth) -> cache_pb2.NamespaceWarmth:
    return cache_pb2.NamespaceWarmth(
        namespace=found.namespace,
        state=STATES[found.state],
        warmed_through_ms=found.warmed_through_ms,
        warm_number=found.warm_number,
    )
