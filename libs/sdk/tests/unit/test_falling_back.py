"""gRPC while it can be reached, and again after a while."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from layer_sdk import falling_back
from layer_sdk.falling_back import FallingBack
from layer_sdk.items import Failure, Item, Result
from layer_sdk.transport import Unavailable, Unreached


class Way:
    """A transport that counts its calls."""

    def __init__(self) -> None:
        self.call_count = 0
        self.fault: Exception | None = None

    async def claim(self, limit: int, lease_s: int | None) -> Sequence[Item]:
        self.call_count += 1
        if self.fault is not None:
            raise self.fault
        return ()

    async def heartbeat(self, items: Sequence[Item]) -> int:
        return len(items)

    async def complete(self, results: Sequence[Result]) -> int:
        return len(results)

    async def fail(self, failures: Sequence[Failure]) -> int:
        return len(failures)

    async def aclose(self) -> None:
        pass


@pytest.fixture
def ways() -> tuple[Way, Way]:
    return Way(), Way()


async def test_what_can_be_reached_is_all_that_is_used(ways: tuple[Way, Way]) -> None:
    first, second = ways
    await FallingBack(first, second).claim(1, None)
    assert (first.call_count, second.call_count) == (1, 0)


async def test_a_service_that_says_later_is_not_gone(ways: tuple[Way, Way]) -> None:
    first, second = ways
    first.fault = Unavailable("the database is away")
    with pytest.raises(Unavailable):
        await FallingBack(first, second).claim(1, None)
    assert second.call_count == 0


async def test_the_other_way_is_used_for_a_while_and_the_first_again(
    ways: tuple[Way, Way], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = ways
    both = FallingBack(first, second)
    first.fault = Unreached("connection refused")
    for _ in range(3):
        await both.claim(1, None)
    assert (first.call_count, second.call_count) == (1, 3)

    monkeypatch.setattr(falling_back, "RETURN_S", 0.0)
    both = FallingBack(first, second)
    await both.claim(1, None)
    first.fault = None
    await both.claim(1, None)
    assert (first.call_count, second.call_count) == (3, 4)
