"""Leases, suspension, probation and what becomes of silent members."""

from __future__ import annotations

from typing import Any

import pytest

from layer_cache.application.sessions import DirtySet
from layer_cache.domain.limits import RENEWALS_REMEMBERED_MAX
from layer_cache.domain.members import OPENING_NUMBER, Members
from layer_cache.domain.rows import row_keys
from layer_kit.errors import InvalidRequestError, NotFoundError, QuotaExceededError
from layer_kit.names import Namespace

BOOKS = Namespace("books")
LEASE_S, GONE_S = 2.0, 30.0
Cache = Any  # the fixture's class lives in conftest.py, which nothing can import


def members_with_one(now_s: float = 0.0) -> Members:
    members = Members([], now_s=now_s, lease_s=LEASE_S, declared_gone_s=GONE_S, members_max=10)
    members.open("gateway", "session", now_s)
    return members


def renew(members: Members, *, base: int, elapsed_s: float, at_s: float) -> int:
    return members.renew("session", answered_number=base, elapsed_s=elapsed_s, received_s=at_s)


def test_a_prompt_renewal_extends_the_lease_by_its_length() -> None:
    members = members_with_one()
    assert renew(members, base=OPENING_NUMBER, elapsed_s=0.7, at_s=0.7) == 2

    assert not members.is_suspended(2.69)
    assert members.is_suspended(2.7)


def test_a_renewal_held_up_extends_the_lease_only_from_when_it_was_sent() -> None:
    members = members_with_one()
    renew(members, base=OPENING_NUMBER, elapsed_s=0.7, at_s=1.9)

    assert not members.is_suspended(2.69)
    assert members.is_suspended(2.7)


def test_a_renewal_whose_answer_was_lost_is_no_starting_point() -> None:
    """The next one counts from the opening and is held up itself."""
    members = members_with_one()
    renew(members, base=OPENING_NUMBER, elapsed_s=0.7, at_s=0.7)
    renew(members, base=OPENING_NUMBER, elapsed_s=1.4, at_s=2.6)

    assert members.is_suspended(3.4)


def test_a_repeated_or_overtaken_renewal_neither_extends_nor_shortens() -> None:
    members = members_with_one()
    renew(members, base=OPENING_NUMBER, elapsed_s=1.4, at_s=1.4)
    for _ in range(2):
        renew(members, base=OPENING_NUMBER, elapsed_s=0.7, at_s=3.3)

    assert not members.is_suspended(3.39)
    assert members.is_suspended(3.4)


def test_a_lease_that_ran_out_cannot_be_renewed() -> None:
    members = members_with_one()

    with pytest.raises(NotFoundError, match="open one again"):
        renew(members, base=OPENING_NUMBER, elapsed_s=2.0, at_s=2.0)


def test_a_starting_point_that_is_not_remembered_ends_the_session() -> None:
    members = members_with_one()
    for number in range(RENEWALS_REMEMBERED_MAX):
        renew(members, base=number + 1, elapsed_s=0.1, at_s=(number + 1) / 10)

    with pytest.raises(NotFoundError):
        renew(members, base=OPENING_NUMBER, elapsed_s=0.9, at_s=0.9)


def test_a_known_member_that_opens_again_counts_only_once_it_renews() -> None:
    members = members_with_one()
    members.open("gateway", "second", 5.0)
    assert members.is_suspended(5.0)

    members.renew("second", answered_number=OPENING_NUMBER, elapsed_s=0.1, received_s=5.1)

    assert not members.is_suspended(5.1)
    with pytest.raises(NotFoundError):
        members.check("session", 5.1)


def test_an_opening_held_up_does_not_disturb_the_session_in_use() -> None:
    members = members_with_one()
    members.open("gateway", "held-up", 1.0)

    renew(members, base=OPENING_NUMBER, elapsed_s=1.5, at_s=1.5)

    assert not members.is_suspended(3.4)
    members.check("session", 3.4)


def test_an_opening_is_not_proved_by_a_renewal_that_came_too_late() -> None:
    members = members_with_one()
    members.open("gateway", "second", 5.0)

    with pytest.raises(NotFoundError):
        members.renew("second", answered_number=OPENING_NUMBER, elapsed_s=0.1, received_s=7.2)

    assert members.is_suspended(7.2)


async def test_hits_are_suspended_while_a_member_is_silent(cache: Cache) -> None:
    await cache.join()
    await cache.fill(b"u1")
    cache.now_s += LEASE_S
    await cache.sessions.advance()

    found = await cache.lookup(b"u1")

    assert found.is_suspended
    assert found.positions == []
    assert await cache.backfill(found.read_token, b"u2") == 1
    figures = cache.statistics.take()
    assert figures.is_suspended
    assert (figures.member_count, figures.suspensions_count) == (0, 1)


async def test_hits_resume_with_the_member_and_without_its_dirty_rows(cache: Cache) -> None:
    await cache.join()
    await cache.fill(b"u1", b"u2")
    cache.now_s += LEASE_S
    dirty = DirtySet(keys=row_keys(BOOKS, [b"u1"], count_max=1))

    session = await cache.sessions.open("gateway", dirty)
    assert (await cache.lookup(b"u2")).is_suspended
    cache.sessions.renew(session, answered_number=OPENING_NUMBER, elapsed_s=0.0)

    assert (await cache.lookup(b"u1", b"u2")).positions == [1]


@pytest.mark.parametrize("dirty", [DirtySet(namespaces=[BOOKS]), DirtySet(is_everything=True)])
async def test_a_member_may_name_namespaces_or_everything(cache: Cache, dirty: DirtySet) -> None:
    await cache.fill(b"u1")

    await cache.sessions.open("gateway", dirty)

    assert await cache.holds(b"u1") is None


async def test_a_member_silent_for_too_long_is_given_up_with_all_that_was_cached(
    cache: Cache,
) -> None:
    await cache.join()
    await cache.fill(b"u1")
    cache.now_s += LEASE_S + GONE_S
    token = (await cache.lookup(b"u2")).read_token

    await cache.sessions.advance()

    found = await cache.lookup(b"u1")
    assert not found.is_suspended
    assert found.positions == []
    assert await cache.backfill(token, b"u2") == 0
    assert cache.ledger.load().member_ids == frozenset()
    assert cache.statistics.take().members_gone_count == 1


async def test_a_start_after_a_crash_waits_for_every_member(cache: Cache) -> None:
    await cache.join("one")
    await cache.join("two")
    await cache.fill(b"u1")
    cache.restart()
    assert (await cache.lookup(b"u1")).is_suspended

    for member_id in ("one", "two"):
        assert (await cache.lookup(b"u1")).is_suspended
        session = await cache.join(member_id)
        cache.sessions.renew(session, answered_number=OPENING_NUMBER, elapsed_s=0.0)

    assert await cache.holds(b"u1") == b"{}"


async def test_a_start_after_a_crash_drops_everything_when_a_member_stays_away(
    cache: Cache,
) -> None:
    """Also a member that had renewed just before the crash is waited for long enough."""
    await cache.join()
    await cache.fill(b"u1")
    cache.restart()

    cache.now_s += GONE_S
    await cache.sessions.advance()
    assert (await cache.lookup(b"u1")).is_suspended
    cache.now_s += LEASE_S
    await cache.sessions.advance()

    found = await cache.lookup(b"u1")
    assert not found.is_suspended
    assert found.positions == []


async def test_a_start_after_all_members_left_serves_at_once(cache: Cache) -> None:
    session = await cache.join()
    await cache.fill(b"u1")
    for _ in range(2):
        await cache.sessions.close(session)
    cache.restart()

    assert await cache.holds(b"u1") == b"{}"


async def test_what_a_fence_hid_at_a_crash_does_not_come_back(cache: Cache) -> None:
    session = await cache.join()
    await cache.fill(b"u1", b"u2")
    await cache.fence(session, b"f", b"u1")
    cache.restart()

    session = await cache.join()
    cache.sessions.renew(session, answered_number=OPENING_NUMBER, elapsed_s=0.0)

    assert (await cache.lookup(b"u1", b"u2")).positions == [1]


async def test_a_session_of_another_incarnation_is_unknown(cache: Cache) -> None:
    session = await cache.join()
    cache.restart()

    with pytest.raises(NotFoundError) as caught:
        cache.sessions.renew(session, answered_number=OPENING_NUMBER, elapsed_s=0.1)

    assert caught.value.reason == "SESSION_UNKNOWN"


async def test_members_are_bounded_in_number_and_name(cache: Cache) -> None:
    for number in range(cache.limits.members_max):
        await cache.join(f"gateway-{number}")

    with pytest.raises(QuotaExceededError, match="members already"):
        await cache.join("one too many")
    await cache.join("gateway-0")
    for member_id in ("", "x" * 65):
        with pytest.raises(InvalidRequestError, match="1 to 64"):
            await cache.join(member_id)


async def test_a_member_that_returns_to_a_cache_without_memory_has_the_others_waited_for(
    cache: Cache,
) -> None:
    """The disk was lost while two gateways were members; only one of them is back."""
    session = await cache.sessions.open("one", DirtySet(), is_returning=True)
    cache.sessions.renew(session, answered_number=OPENING_NUMBER, elapsed_s=0.0)
    found = await cache.lookup(b"u1")
    assert found.is_suspended
    assert await cache.backfill(found.read_token, b"u1") == 1

    for _ in range(2):  # a crash meanwhile makes no difference, but that the wait begins anew
        cache.restart()
        cache.now_s += LEASE_S + GONE_S - 0.1
        await cache.sessions.advance()
        assert (await cache.lookup(b"u1")).is_suspended
    cache.now_s += 0.1
    await cache.sessions.advance()

    found = await cache.lookup(b"u1")
    assert not found.is_suspended
    assert found.positions == []  # the other may have written it since it was kept


async def test_a_member_that_returns_late_is_taken_for_one_declared_gone(cache: Cache) -> None:
    cache.now_s += LEASE_S + GONE_S
    await cache.sessions.open("one", DirtySet(), is_returning=True)

    assert not (await cache.lookup(b"u1")).is_suspended
