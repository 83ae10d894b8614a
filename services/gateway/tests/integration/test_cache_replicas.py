"""Gateways over several caches: what they share, and what happens when they do not agree."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

from layer_testing.edge_calls import EdgeCaller, eventually
from layer_testing.gateway_calls import KEY, embedded_store, gateway_over
from layer_testing.processes import ServiceProcess, running

TARGET = "/v2/namespaces/n"
ROW_IDS = [f"row-{number}" for number in range(20)]


async def served_from(edge: EdgeCaller) -> set[str]:
    answers = [await edge("GET", f"{TARGET}/documents/{id_}") for id_ in ROW_IDS]
    assert {found.status for found in answers} == {200}
    return {found["x-layer-cache"] for found in answers}


async def test_gateways_that_were_given_other_replicas_get_no_hits(tmp_path: Path) -> None:
    addresses = [f"unix:{tmp_path / f'{number}.sock'}" for number in range(2)]
    async with AsyncExitStack() as stack:
        store_url = await stack.enter_async_context(embedded_store(tmp_path / "store"))
        for number, address in enumerate(addresses):
            cache = running(
                "layer_cache",
                LAYER_CACHE_GRPC_ADDRESS=address,
                LAYER_CACHE_DATA_DIRECTORY=str(tmp_path / f"cache-{number}"),
            )
            await stack.enter_async_context(cache)

        async def gateway(known: list[str]) -> tuple[EdgeCaller, ServiceProcess]:
            settings = {
                "LAYER_GATEWAY_CACHE_ADDRESS": ",".join(known),
                "LAYER_GATEWAY_REACTIVE_WARM": "false",
            }
            process = await stack.enter_async_context(gateway_over(store_url, **settings))
            return EdgeCaller(process.addresses["http"], key=KEY), process

        edge, _ = await gateway(addresses)
        rows = [{"id": id_, "n": 1} for id_ in ROW_IDS]
        assert (await edge("POST", TARGET, {"upsert_rows": rows})).status == 200
        await served_from(edge)
        assert await served_from(edge) == {"hit"}
        same, _ = await gateway(addresses[::-1])
        assert await served_from(same) == {"hit"}

        odd, process = await gateway(addresses[:1])
        assert "hit" not in await served_from(odd)

        async def gets_no_hits() -> bool:
            return await served_from(edge) == {"miss-on-error"}

        await eventually(gets_no_hits)
        await process.terminate()

        async def gets_hits() -> bool:
            return await served_from(edge) == {"hit"}

        await eventually(gets_hits)
