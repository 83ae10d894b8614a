"""The loop of a worker, against a layer that refuses, is away, and tells it to stop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from layer_sdk import PermanentError, TransientError, retrying, udf, worker_loop
from layer_sdk.items import Failure, Item, Result
from layer_sdk.processing import Processing
from layer_sdk.transport import Refused, Unavailable
from layer_sdk.worker_loop import WorkerLoop

ITEMS = [Item("rows", f"r{at}", 7, {"n": at}) for at in range(4)]


class Layer:
    """Hands out one batch and remembers what it is told."""

    def __init__(self, *, refuses: Callable[[Result], bool] = lambda _: False) -> None:
        self.batches = [ITEMS]
        self.results: dict[str, Result] = {}
        self.failures: dict[str, Failure] = {}
        self.has_beaten = asyncio.Event()
        self.beaten: list[str] = []
        self.faults: list[Exception] = []
        self._refuses = refuses

    async def claim(self, limit: int, lease_s: int | None) -> Sequence[Item]:
        self._fault()
        return self.batches.pop() if self.batches else []

    async def heartbeat(self, items: Sequence[Item]) -> int:
        self.beaten = [item.id for item in items]
        self.has_beaten.set()
        return len(items)

    async def complete(self, results: Sequence[Result]) -> int:
        self._fault()
        if any(map(self._refuses, results)):
            raise Refused("no such value")
        self.results |= {result.item.id: result for result in results}
        return len(results)

    async def fail(self, failures: Sequence[Failure]) -> int:
        self._fault()
        self.failures |= {failure.item.id: failure for failure in failures}
        return len(failures)

    async def aclose(self) -> None:
        pass

    def _fault(self) -> None:
        if self.faults:
            raise self.faults.pop()


def loop_over(layer: Layer, function: Callable[..., Any], **options: Any) -> WorkerLoop:
    return WorkerLoop(processing=Processing.of(function), transport=layer, limit=4, **options)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "RETRY_S_MAX", 0.0)


async def test_what_a_function_raises_says_what_becomes_of_its_item() -> None:
    @udf(output="twice")
    def twice(n: int) -> int:
        match n:
            case 1:
                raise PermanentError("never")
            case 2:
                raise TransientError("later")
            case 3:
                raise KeyError("n")
            case _:
                return 2 * n

    layer = Layer()
    assert await loop_over(layer, twice).run(once=True) == 1
    assert layer.results["r0"].attributes == {"twice": 0}
    assert {id_: one.kind for id_, one in layer.failures.items()} == {
        "r1": "permanent",
        "r2": "transient",
        "r3": "transient",
    }


async def test_a_result_that_is_refused_fails_alone() -> None:
    @udf(output="n")
    def same(n: int) -> int:
        return n

    layer = Layer(refuses=lambda result: result.attributes["n"] == 2)
    assert await loop_over(layer, same).run(once=True) == 3
    assert sorted(layer.results) == ["r0", "r1", "r3"]
    assert layer.failures["r2"].kind == "permanent"


async def test_results_are_handed_in_again_when_layer_was_away() -> None:
    @udf(output="n")
    def same(n: int) -> int:
        layer.faults = [Unavailable("503", 0.0) for _ in range(2 if n == 3 else 0)]
        return n

    layer = Layer()
    assert await loop_over(layer, same).run(once=True) == 4
    assert len(layer.results) == 4


async def test_a_value_without_a_name_is_permanent() -> None:
    @udf()
    def nameless(n: int) -> int:
        return n

    layer = Layer()
    assert await loop_over(layer, nameless).run(once=True) == 0
    assert {one.kind for one in layer.failures.values()} == {"permanent"}


async def test_a_batch_of_another_length_fails_as_a_whole() -> None:
    @udf(batch=True, output="n")
    def short(inputs: list[dict[str, int]]) -> list[int]:
        return [one["n"] for one in inputs[1:]]

    layer = Layer()
    await loop_over(layer, short).run(once=True)
    assert len(layer.failures) == 4


async def test_a_call_that_does_not_end_after_stop_is_given_back() -> None:
    started = asyncio.Event()

    @udf(output="n")
    async def endless(n: int) -> int:
        if n == 1:
            started.set()
            await asyncio.Event().wait()
        return n

    layer = Layer()
    loop = loop_over(layer, endless, drain_s=0.01)
    work = asyncio.create_task(loop.run())
    await started.wait()
    loop.stop()
    assert await work == 1
    assert {id_: one.kind for id_, one in layer.failures.items()} == dict.fromkeys(
        ("r1", "r2", "r3"), "released"
    )


async def test_leases_are_renewed_while_a_call_runs() -> None:
    @udf(output="n")
    async def patient(n: int) -> int:
        await layer.has_beaten.wait()
        return n

    layer = Layer()
    assert await loop_over(layer, patient, lease_s=0).run(once=True) == 4


async def test_leases_of_what_is_done_are_renewed_until_it_is_handed_in() -> None:
    @udf(output="n")
    async def slow_at_the_end(n: int) -> int:
        if n == 3:
            layer.has_beaten.clear()
            await layer.has_beaten.wait()
            assert layer.beaten == ["r0", "r1", "r2", "r3"]
        return n

    layer = Layer()
    assert await loop_over(layer, slow_at_the_end, lease_s=0).run(once=True) == 4


async def test_a_batch_that_takes_long_hands_in_what_is_done_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(worker_loop, "HAND_IN_INTERVAL_S", 0.0)

    @udf(output="n")
    async def watchful(n: int) -> int:
        assert len(layer.results) + len(layer.failures) == n
        if n == 1:
            raise TransientError("later")
        return n

    layer = Layer()
    assert await loop_over(layer, watchful).run(once=True) == 3
    assert list(layer.failures) == ["r1"]


async def test_results_that_cannot_be_handed_in_after_stop_keep_no_worker_from_ending() -> None:
    @udf(output="n")
    def last(n: int) -> int:
        layer.faults = [Unavailable("503") for _ in range(100)]
        loop.stop()
        return n

    layer = Layer()
    loop = loop_over(layer, last, drain_s=0.0)
    assert await loop.run() == 0


def test_reserved_outputs_are_refused_at_once() -> None:
    with pytest.raises(ValueError, match="_hevlayer_x"):
        udf(output="_hevlayer_x")
