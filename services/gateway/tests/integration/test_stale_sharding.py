"""A gateway that does not know yet of shards loses nobody's rows."""

from __future__ import annotations

import itertools
import random
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest
import pytest_asyncio

from layer_testing.edge_calls import EdgeCaller
from layer_testing.gateway_calls import KEY, embedded_store, gateway_over

pytestmark = pytest.mark.asyncio(loop_scope="module")

REMEMBERED_S: Final = "600"
"""Longer than the test: nobody learns of anything by waiting."""
STEPS_COUNT: Final = 40
SEEDS: Final = range(4)


class Replicas:
    """Gateways over one store, of which each knows what it has asked itself."""

    def __init__(self, edges: list[EdgeCaller]) -> None:
        self.edges = edges

    async def write(self, at: int, name: str, ids: list[str]) -> None:
        rows = [{"id": id_, "vector": [1.0, 0.0], "n": len(id_)} for id_ in ids]
        body = {"upsert_rows": rows, "distance_metric": "cosine_distance"}
        received = await self.edges[at]("POST", f"/v2/namespaces/{name}", body)
        assert received.status == 200, received.body

    async def init(self, at: int, name: str, shard_count: int) -> Any:
        body = {"shard_count": shard_count}
        received = await self.edges[at]("POST", f"/v2/namespaces/{name}/init", body)
        assert received.status == 200, received.body
        return received.json["layer"]

    async def ids(self, at: int, name: str) -> list[str]:
        body = {"rank_by": ["vector", "ANN", [1.0, 0.0]], "top_k": 10_000}
        received = await self.edges[at]("POST", f"/v2/namespaces/{name}/query", body)
        assert received.status == 200, received.body
        return sorted(row["id"] for row in received.json["rows"])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def replicas(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Replicas]:
    objects = tmp_path_factory.mktemp("objects")
    environment = {
        "LAYER_GATEWAY_FACTS_TTL_S": REMEMBERED_S,
        "LAYER_GATEWAY_OBJECTS_DIRECTORY": str(objects),
        "LAYER_INIT_BACKFILL_RPS": "1000",
        "LAYER_GATEWAY_STRONG_NAMESPACES": "*",
    }
    async with (
        embedded_store(tmp_path_factory.mktemp("store")) as store_url,
        gateway_over(store_url, **environment) as first,
        gateway_over(store_url, **environment) as second,
        gateway_over(store_url, **environment) as third,
    ):
        yield Replicas(
            [EdgeCaller(process.addresses["http"], key=KEY) for process in (first, second, third)]
        )


@pytest.mark.parametrize("shard_count", [2, 5, 32])
async def test_rows_that_are_stamped_by_what_was_true_before_are_found(
    replicas: Replicas, shard_count: int
) -> None:
    name = f"stale-{shard_count}"
    before, after = [f"b-{at}" for at in range(20)], [f"a-{at}" for at in range(60)]
    await replicas.write(0, name, before[:10])
    await replicas.write(1, name, before[10:])

    layer = await replicas.init(0, name, shard_count)
    assert (layer["shard_state"], layer["scatter_gather_active"]) == ("ready", True)
    await replicas.write(1, name, after)

    for at in range(3):
        assert await replicas.ids(at, name) == sorted(before + after)


async def test_queries_together_show_no_marker_that_was_written_meanwhile(
    replicas: Replicas,
) -> None:
    await replicas.write(0, "together", ["a", "b"])
    await replicas.write(1, "together", ["c"])
    await replicas.init(0, "together", 2)
    leg = {"rank_by": ["id", "asc"], "top_k": 3}
    received = await replicas.edges[1](
        "POST", "/v2/namespaces/together/query", {"queries": [leg, leg | {"top_k": 1}]}
    )
    assert received.status == 200, received.body
    found = [[row["id"] for row in result["rows"]] for result in received.json["results"]]
    assert found == [["a", "b", "c"], ["a"]]


@pytest.mark.parametrize("seed", SEEDS)
async def test_whatever_comes_between_every_acknowledged_row_is_found_by_all(
    replicas: Replicas, seed: int
) -> None:
    name, dice, numbers = f"between-{seed}", random.Random(seed), itertools.count()  # noqa: S311 -- repeatable
    shard_count = dice.choice([1, 2, 3, 7, 16, 40])
    written: list[str] = []
    for step in range(STEPS_COUNT):
        at = dice.randrange(3)
        if step == 0 or dice.random() < 0.6:
            ids = [f"r-{next(numbers)}" for _ in range(dice.randrange(1, 9))]
            await replicas.write(at, name, ids)
            written += ids
        elif dice.random() < 0.3:
            await replicas.init(at, name, shard_count)
        else:
            assert await replicas.ids(at, name) == sorted(written), f"step {step} of {seed}"
    for at in range(3):
        assert await replicas.ids(at, name) == sorted(written)
