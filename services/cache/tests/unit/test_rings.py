"""Members that divide rows among replicas: what a change of the division does."""

from __future__ import annotations

from typing import Any

from layer_cache.application.sessions import DirtySet

Cache = Any  # the fixture's class lives in conftest.py, which nothing can import
ONE, THREE = b"one", b"three"


async def join(cache: Cache, member_id: str, ring: bytes) -> str:
    session_id: str = await cache.sessions.open(member_id, DirtySet(), ring=ring)
    return session_id


async def test_members_of_one_ring_share_what_is_cached(cache: Cache) -> None:
    await join(cache, "a", THREE)
    await cache.fill(b"u1")
    await join(cache, "b", THREE)
    assert await cache.holds(b"u1") == b"{}"
    assert not cache.sessions.members.is_ring_mixed


async def test_another_ring_begins_from_nothing(cache: Cache) -> None:
    await cache.sessions.close(await join(cache, "a", b""))
    await cache.fill(b"u1")
    await cache.sessions.close(await join(cache, "b", THREE))
    assert await cache.holds(b"u1") is None
    await cache.fill(b"u1")
    await cache.sessions.close(await join(cache, "c", b""))
    assert await cache.holds(b"u1") is None


async def test_the_ring_is_remembered_over_a_restart(cache: Cache) -> None:
    await cache.sessions.close(await join(cache, "a", THREE))
    await cache.fill(b"u1")
    cache.restart()
    await cache.sessions.close(await join(cache, "b", THREE))
    assert await cache.holds(b"u1") == b"{}"
    cache.restart()
    await cache.sessions.close(await join(cache, "c", ONE))
    assert await cache.holds(b"u1") is None


async def test_hits_are_suspended_while_rings_are_mixed(cache: Cache) -> None:
    await join(cache, "a", THREE)
    other = await join(cache, "b", ONE)
    assert cache.sessions.members.is_ring_mixed
    await cache.fill(b"u1")
    assert (await cache.lookup(b"u1")).is_suspended
    await cache.sessions.close(other)
    assert not (await cache.lookup(b"u1")).is_suspended
