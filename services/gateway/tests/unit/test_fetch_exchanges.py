"""The exchange with the cache that a fetch is, when the cache tells of it at odd times."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from layer_gateway.application.begun_fetches import BegunFetch
from layer_gateway.domain.visits import Visit
from layer_gateway.http.fetch_exchanges import FetchExchange
from layer_gateway.http.fetches import FetchAsked
from layer_gateway.ports.rows import CachedRow, CacheLookup, TellLookup
from layer_kit.names import parse_namespace
from layer_kit.rpc.context import request_id
from layer_wire.ids import IdKind

BOOKS = parse_namespace("books")
NOBODY = Visit("", "", True, "", ())  # noqa: FBT003


class Caller:
    """The request, the use case, the cache and the receiver of one fetch."""

    def __init__(self, outcome: CacheLookup | BaseException) -> None:
        self.cache = self
        self.head = SimpleNamespace(request_id="one")
        self.identifier = ""
        self.fetched: object = None
        self.seen_id = ""
        self.told: list[object] = []
        self._outcome = outcome

    def begin_lookup(self, _: object, __: object, tell: TellLookup) -> None:
        self.seen_id = request_id.get()
        tell(self._outcome)

    def answered(self, answer: CacheLookup) -> None:
        self.told.append(answer)

    def failed(self, error: Exception) -> None:
        self.told.append(error)

    def exchange(self, *ids: str, is_batch: bool = True) -> FetchExchange:
        anything = cast("Any", self)
        keys = [b"s" + id_.encode() for id_ in ids]
        begun = BegunFetch(
            BOOKS, ids, ids, keys, IdKind.STRING, cast("Any", None), None, earlier={}
        )
        asked = FetchAsked(BOOKS, ids, None, False, NOBODY, is_batch)  # noqa: FBT003
        return FetchExchange(anything, anything, anything, asked, begun)


@pytest.mark.parametrize(
    "outcome", [CacheLookup(is_available=False), ValueError("a mistake")], ids=["away", "a fault"]
)
async def test_what_is_told_at_once_is_passed_on_in_a_later_turn(
    outcome: CacheLookup | BaseException,
) -> None:
    caller = Caller(outcome)
    caller.exchange("a").begin(caller)
    assert (caller.told, caller.identifier) == ([], "one")
    await asyncio.sleep(0)
    assert caller.told == [outcome]


async def test_a_lookup_that_was_given_up_is_a_miss_and_harms_nobody_who_waits_for_it_too() -> None:
    caller = Caller(asyncio.CancelledError())
    caller.exchange("a").begin(caller)
    await asyncio.sleep(0)
    (miss,) = caller.told
    assert isinstance(miss, CacheLookup)
    assert (miss.is_available, list(miss.positions)) == (False, [])


async def test_the_cache_hears_the_request_id_and_nothing_else_on_the_connection_does() -> None:
    caller = Caller(CacheLookup())
    caller.exchange("a").begin(caller)
    assert (caller.seen_id, request_id.get()) == ("one", "")


def test_an_answer_is_concluded_only_where_all_rows_were_found() -> None:
    row = CachedRow(b'{"n":1}', b"")
    caller = Caller(CacheLookup())
    exchange = caller.exchange("a", 'b"')
    assert exchange.conclude(CacheLookup.of({1: row})) is None
    assert caller.fetched is None
    answer = exchange.conclude(CacheLookup.of({1: row, 0: row}))
    assert answer is not None
    assert answer.body == (
        b'{"documents":[{"id":"a","attributes":{"n":1}},{"id":"b\\"","attributes":{"n":1}}],'
        b'"missing":[]}'
    )
    assert caller.fetched == (2, "hit")
