"""Requests that an errand might serve, and what becomes of them where it cannot be begun."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry

from layer_gateway.data_metrics import DataMetrics
from layer_gateway.http.edge import Edge
from layer_gateway.http.edge_request import EdgeRequest
from layer_gateway.http.routes import Operation, Route
from layer_gateway.metrics import EdgeMetrics
from layer_kit.errors import InvalidRequestError, LayerError, QuotaExceededError
from layer_kit.health import Health

QUERY = Route(Operation.QUERY, {"namespace": "n"})
REQUEST = cast(
    "EdgeRequest",
    SimpleNamespace(head=SimpleNamespace(route=QUERY, is_traced=False, bearer="b", scope=None)),
)


class Door:
    """Knows everybody, and lets in whom it has nothing against."""

    def __init__(self, error: LayerError | None = None) -> None:
        self.error = error

    def recognise(self, *_: object) -> object:
        return self

    def let_in(self, _: object) -> object:
        if self.error is not None:
            raise self.error
        return self


def edge(quick: Any, door: Door) -> Edge:
    registry = CollectorRegistry()
    return Edge(
        {},
        {Operation.QUERY: quick},
        cache_states=cast("Any", None),
        admission=cast("Any", door),
        is_draining=lambda: False,
        health=Health(),
        exposition=cast("Any", None),
        metrics=EdgeMetrics(registry),
        data=DataMetrics(registry),
    )


def raising(error: Exception) -> Any:
    def quick(*_: object) -> None:
        raise error

    return quick


@pytest.mark.parametrize(
    ("quick", "door", "lost_count"),
    [
        (lambda *_: None, Door(), 0),
        (raising(InvalidRequestError("X", "x")), Door(), 0),
        (lambda *_: object(), Door(QuotaExceededError("KEY_RATE", "x")), 0),
        (raising(ZeroDivisionError()), Door(), 1),
    ],
    ids=["more than one exchange", "not valid", "not let in", "a fault of ours"],
)
async def test_what_no_errand_can_serve_is_left_to_the_handler_and_faults_are_told(
    quick: Any, door: Door, lost_count: int
) -> None:
    lost: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, told: lost.append(told))
    assert not edge(quick, door).begin(REQUEST)
    assert len(lost) == lost_count
