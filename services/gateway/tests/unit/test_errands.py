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
from layer_gateway.http.errands import Errand
from layer_gateway.http.routes import Operation, Route
from layer_gateway.metrics import EdgeMetrics
from layer_kit.errors import InvalidRequestError, LayerError, QuotaExceededError

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
        public_pages=cast("Any", None),
        admission=cast("Any", door),
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


class Caller:
    """The protocol and the accounts of one request, as far as an errand knows them."""

    def __init__(self) -> None:
        self.answers: list[object] = []
        self.given_back_count = 0
        self.head = SimpleNamespace(request_id="one", route=QUERY)
        self.identifier = ""
        self.protocol = self

    def end_errand(self, _: object, response: object, again: object = None) -> None:
        self.answers.append(response)

    def give_back(self) -> None:
        self.given_back_count += 1

    def answered(self, *_: object, **__: object) -> None:
        pass

    def served(self, *_: object) -> None:
        pass

    def refusal(self, *_: object) -> str:
        return "refused"


class Exchange:
    """One whose answer is at hand, and which fails where it is told to."""

    def __init__(self, *, fails_at: str) -> None:
        self._fails_at = fails_at

    def begin(self, _: object) -> None:
        self._fail_at("begin")  # what was sent is on its way all the same

    def prepare(self, _: str) -> None:
        self._fail_at("prepare")

    def conclude(self, _: object) -> SimpleNamespace:
        return SimpleNamespace(request_id="")

    def settle(self) -> None:
        self._fail_at("settle")

    def _fail_at(self, moment: str) -> None:
        if self._fails_at == moment:
            raise ZeroDivisionError


def errand_of(caller: Caller, exchange: Exchange) -> Errand[Any]:
    anything = cast("Any", caller)
    return Errand(
        anything, anything, cast("Any", exchange), anything, anything, 0.0, body_opening=None
    )


async def test_what_comes_after_an_answer_and_goes_wrong_is_told_and_spoils_nothing() -> None:
    lost: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, told: lost.append(told))
    caller = Caller()
    errand = errand_of(caller, Exchange(fails_at="settle"))
    errand.begin()
    errand.answered(cast("Any", None))
    assert [type(told["exception"]) for told in lost] == [ZeroDivisionError]
    assert len(caller.answers) == caller.given_back_count == 1


@pytest.mark.parametrize("end", ["answered", "failed"])
@pytest.mark.parametrize("moment", ["begin", "prepare"])
def test_an_errand_that_was_refused_is_not_answered_again_by_what_still_comes(
    moment: str, end: str
) -> None:
    caller = Caller()
    errand = errand_of(caller, Exchange(fails_at=moment))
    errand.begin()
    assert caller.answers == ["refused"]
    getattr(errand, end)(InvalidRequestError("X", "x"))
    assert caller.answers == ["refused"]
    assert caller.given_back_count == 1
