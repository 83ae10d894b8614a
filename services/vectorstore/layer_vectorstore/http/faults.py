"""Faults on demand, so that other systems' tests can see how they cope with a bad upstream."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from random import Random
from typing import Annotated, Any, Final

import msgspec
from aiohttp import web

from layer_kit.errors import NotFoundError, UnavailableError
from layer_vectorstore.application.freshness import Freshness
from layer_vectorstore.domain.errors import RefusedError
from layer_vectorstore.http.answers import json_response
from layer_vectorstore.http.bodies import parse_json

ADMIN_PATH: Final = ("_layer", "faults")
LATENCY_MS_MAX: Final = 600_000
LAG_MS_MAX: Final = 86_400_000


@dataclass(slots=True)
class Faults:
    """What goes wrong, for every request of the contract."""

    latency_ms: float = 0
    error_rate: float = 0
    """Share of requests answered with 503, from 0 to 1."""
    drop_rate: float = 0
    """Share of requests whose connection is closed without doing anything, from 0 to 1."""
    drop_answer_rate: float = 0
    """Share of requests that are carried out and whose connection is closed all the same."""


class FaultInjector:
    def __init__(
        self, faults: Faults, freshness: Freshness, random: Random, *, is_changeable: bool
    ) -> None:
        self._faults = faults
        self._freshness = freshness
        self._random = random
        self._is_changeable = is_changeable

    async def strike(self, request: web.BaseRequest) -> None:
        """Delay, drop or refuse a request as configured.

        Raises:
            UnavailableError: ``FAULT_INJECTED``.
            ConnectionResetError: After it closed the connection.
        """
        faults = self._faults
        if faults.latency_ms:
            await asyncio.sleep(faults.latency_ms / 1000)
        if faults.drop_rate and self._random.random() < faults.drop_rate:
            _drop(request)
        if faults.error_rate and self._random.random() < faults.error_rate:
            raise UnavailableError("FAULT_INJECTED", "injected fault")

    def strike_answer(self, request: web.BaseRequest) -> None:
        """Drop the answer to a request as configured: its caller cannot know what was done.

        Raises:
            ConnectionResetError: After it closed the connection.
        """
        rate = self._faults.drop_answer_rate
        if rate and self._random.random() < rate:
            _drop(request)

    def is_admin(self, segments: tuple[str, ...]) -> bool:
        return self._is_changeable and segments == ADMIN_PATH

    def administer(self, method: str, body: bytes) -> web.Response:
        """Show the faults, or with PUT set those named and reset the others."""
        match method:
            case "GET":
                pass
            case "PUT":
                self._set(parse_json(body))
            case _:
                raise NotFoundError("ROUTE_NOT_FOUND", "🤷 faults answer GET and PUT")
        return json_response(
            {
                "latency_ms": self._faults.latency_ms,
                "error_rate": self._faults.error_rate,
                "drop_rate": self._faults.drop_rate,
                "drop_answer_rate": self._faults.drop_answer_rate,
                "index_lag_ms": self._freshness.index_lag_ms,
                "unindexed_bytes_max": self._freshness.unindexed_bytes_max,
            }
        )

    def _set(self, body: Any) -> None:
        try:
            wanted = msgspec.convert(body, FaultSettings)
        except msgspec.ValidationError as error:
            raise RefusedError("FAULTS_INVALID", f"💔 {error}") from error
        self._faults.latency_ms = wanted.latency_ms
        self._faults.error_rate = wanted.error_rate
        self._faults.drop_rate = wanted.drop_rate
        self._faults.drop_answer_rate = wanted.drop_answer_rate
        self._freshness.index_lag_ms = wanted.index_lag_ms
        self._freshness.unindexed_bytes_max = wanted.unindexed_bytes_max


def _drop(request: web.BaseRequest) -> None:
    if request.transport is not None:
        request.transport.abort()
    raise ConnectionResetError("dropped on demand")


Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


class FaultSettings(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a PUT."""

    latency_ms: Annotated[float, msgspec.Meta(ge=0, le=LATENCY_MS_MAX)] = 0
    error_rate: Share = 0
    drop_rate: Share = 0
    drop_answer_rate: Share = 0
    index_lag_ms: Annotated[int, msgspec.Meta(ge=0, le=LAG_MS_MAX)] = 0
    unindexed_bytes_max: Annotated[int, msgspec.Meta(ge=0)] = 2 << 30
