"""How many requests a key may send, and all keys together."""

from __future__ import annotations

from dataclasses import replace

import pytest

from layer_gateway.application.limits import Limits, LimitSettings
from layer_kit.errors import QuotaExceededError, UnavailableError

UNBOUNDED = LimitSettings()


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def accepted_count(limits: Limits, digest: bytes, tries_count: int) -> int:
    """Enter as often as told, leave at once, and count how often it was possible."""
    count = 0
    for _ in range(tries_count):
        try:
            with limits.enter(digest):
                count += 1
        except QuotaExceededError:
            pass
    return count


def test_without_bounds_everything_passes_and_nothing_is_remembered(clock: Clock) -> None:
    limits = Limits(UNBOUNDED, clock)
    passes = [limits.enter(bytes([at])) for at in range(200)]
    assert limits.inflight_count == 200
    assert not limits._uses
    for one in passes:
        one.give_back()
        one.give_back()
    assert limits.inflight_count == 0


def test_a_key_has_its_burst_and_then_its_rate(clock: Clock) -> None:
    settings = replace(UNBOUNDED, key_requests_per_second=2.0, key_burst_count=5)
    limits = Limits(settings, clock)
    assert accepted_count(limits, b"a", 9) == 5
    assert accepted_count(limits, b"b", 9) == 5
    clock.now_s += 1.0
    assert accepted_count(limits, b"a", 9) == 2
    clock.now_s += 3600.0
    assert accepted_count(limits, b"a", 9) == 5


def test_without_a_burst_of_its_own_a_key_may_send_those_of_a_second(clock: Clock) -> None:
    for rate, burst in ((3.0, 3), (0.1, 1)):
        limits = Limits(replace(UNBOUNDED, key_requests_per_second=rate), clock)
        assert accepted_count(limits, b"a", 9) == burst


def test_a_refusal_names_the_pause_after_which_it_works(clock: Clock) -> None:
    limits = Limits(replace(UNBOUNDED, key_requests_per_second=0.25), clock)
    assert accepted_count(limits, b"a", 1) == 1
    with pytest.raises(QuotaExceededError) as refused:
        limits.enter(b"a")
    assert (refused.value.reason, refused.value.retry_after_s) == ("KEY_RATE", 4.0)
    clock.now_s += 4.0
    assert accepted_count(limits, b"a", 2) == 1


def test_a_key_has_so_many_requests_in_flight(clock: Clock) -> None:
    limits = Limits(replace(UNBOUNDED, key_inflight_max=2), clock)
    first, _ = limits.enter(b"a"), limits.enter(b"a")
    with pytest.raises(QuotaExceededError) as refused:
        limits.enter(b"a")
    assert refused.value.reason == "KEY_INFLIGHT"
    with limits.enter(b"b"):
        assert limits.inflight_count == 3
    first.give_back()
    with limits.enter(b"a"):
        pass


def test_a_refused_request_is_not_in_flight(clock: Clock) -> None:
    settings = replace(UNBOUNDED, key_requests_per_second=1.0, key_inflight_max=1)
    limits = Limits(settings, clock)
    with limits.enter(b"a"):
        assert accepted_count(limits, b"a", 3) == 0
    assert accepted_count(limits, b"a", 3) == 0
    assert limits.inflight_count == 0


def test_all_keys_together_have_a_bound_that_sheds(clock: Clock) -> None:
    limits = Limits(replace(UNBOUNDED, inflight_max=2), clock)
    first, _ = limits.enter(b"a"), limits.enter(b"b")
    with pytest.raises(UnavailableError) as shed:
        limits.enter(b"c")
    assert (shed.value.reason, shed.value.retry_after_s) == ("GATEWAY_FULL", 1.0)
    first.give_back()
    limits.enter(b"c")


def test_made_up_keys_cost_no_memory_and_those_in_use_stay(clock: Clock) -> None:
    settings = replace(UNBOUNDED, key_requests_per_second=1.0, keys_count_max=10)
    limits = Limits(settings, clock)
    for at in range(1000):
        assert accepted_count(limits, b"steady", 2) == (1 if at == 0 else 0)
        accepted_count(limits, b"made up %d" % at, 1)
    assert len(limits._uses) == 10


def test_a_key_that_was_forgotten_in_flight_leaves_without_harm(clock: Clock) -> None:
    limits = Limits(replace(UNBOUNDED, key_inflight_max=1, keys_count_max=1), clock)
    first = limits.enter(b"a")
    with limits.enter(b"b"):
        pass
    first.give_back()
    with limits.enter(b"a"):
        assert limits.inflight_count == 1
