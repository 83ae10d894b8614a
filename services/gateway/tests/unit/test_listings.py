"""Remembered pages of listings: whose they are, and when they no longer count."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from layer_gateway.application import listings as module
from layer_gateway.application.listings import ListedNamespace, Listings, NamespacePage
from layer_gateway.ports.stores import Caller

ANN = Caller(headers=[(b"authorization", b"Bearer ann")])
BOB = Caller(headers=[(b"authorization", b"Bearer bob")])


@dataclass
class World:
    now_s: float = 0.0
    ttl_s: float = 10.0
    listings: Listings = field(init=False)

    def __post_init__(self) -> None:
        self.listings = Listings(ttl_s=self.ttl_s, monotonic=lambda: self.now_s)

    def put(self, query: str, *names: str) -> NamespacePage:
        page = NamespacePage(
            namespaces=[ListedNamespace(name=name) for name in names], next_cursor=None
        )
        self.listings.put(query, ANN, page, generation=self.listings.generation)
        return page


def test_a_page_is_remembered_for_its_question_and_key_and_for_a_while() -> None:
    world = World()
    page = world.put("prefix=a", "a1")
    world.now_s = 9.9
    assert world.listings.get("prefix=a", ANN) is page
    assert world.listings.get("prefix=b", ANN) is None
    assert world.listings.get("prefix=a", BOB) is None
    world.now_s = 10.0
    assert world.listings.get("prefix=a", ANN) is None


def test_what_comes_or_goes_ends_every_page_and_those_under_way() -> None:
    world = World()
    page = world.put("", "a1")
    generation = world.listings.generation
    world.listings.forget()
    world.listings.put("", ANN, page, generation=generation)
    assert world.listings.get("", ANN) is None


def test_so_many_namespaces_are_remembered_and_the_oldest_pages_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "NAMESPACES_REMEMBERED_MAX", 3)
    world = World()
    for name in ("first", "second"):
        world.put(name, "a", "b")
    assert world.listings.get("first", ANN) is None
    assert world.listings.get("second", ANN) is not None


def test_pages_of_nothing_take_room_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "NAMESPACES_REMEMBERED_MAX", 3)
    world = World()
    for number in range(4):
        world.put(f"prefix={number}")
    found = [world.listings.get(f"prefix={number}", ANN) for number in range(4)]
    assert [page is not None for page in found] == [False, True, True, True]


def test_a_long_question_is_not_remembered() -> None:
    world = World()
    query, key = "prefix=".ljust(100_000, "a"), b"Bearer ".ljust(60_000, b"a")
    world.put(query, "a1")
    assert world.listings.get(query, ANN) is None
    page = NamespacePage(namespaces=[], next_cursor=None)
    caller = Caller(headers=[(b"authorization", key)])
    world.listings.put("", caller, page, generation=world.listings.generation)
    assert world.listings.get("", caller) is None


def test_nothing_is_remembered_for_no_time() -> None:
    world = World(ttl_s=0.0)
    world.put("", "a1")
    assert world.listings.get("", ANN) is None
