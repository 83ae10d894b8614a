"""Namespaces with facet fields are watched by a gateway that has just started."""

from __future__ import annotations

import pytest

from layer_snapshots_testing.client import TOOLS, SnapshotsClient, running_snapshots
from layer_snapshots_testing.gateway import RowsGateway
from layer_testing.gateway_calls import gateway_over
from layer_testing.scripted_store import answer, scripted_store

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_snapshot_is_taken_though_nobody_uses_the_namespace(
    gateway_at: tuple[RowsGateway, str], environment: dict[str, str]
) -> None:
    rows, address = gateway_at
    rows.namespaces |= {"declared": TOOLS, "told": TOOLS, "plain": TOOLS}
    settings = environment | {"LAYER_FACET_FIELDS": '{"declared": ["kind"]}'}
    async with (
        running_snapshots(address, **settings) as (client, process),
        scripted_store() as store,
    ):
        declared, told, plain = (
            SnapshotsClient(client.channel, name) for name in ("declared", "told", "plain")
        )
        await told.set_policy("kind", "tags")
        await plain.set_policy(retention="1h")
        for name in ("declared", "told", "plain"):
            path = f"GET /v2/namespaces/{name}/metadata"
            store.answers[path] = answer({"schema": {}, "index": {"status": "up-to-date"}})
        snapshots = {"LAYER_GATEWAY_SNAPSHOTS_ADDRESS": process.addresses["grpc"]}
        async with gateway_over(store.url, **snapshots):
            await declared.newest(1)
            await told.newest(1)

    asked = {request.path for request in store.requests if request.path.endswith("/metadata")}
    assert asked == {f"/v2/namespaces/{name}/metadata" for name in ("declared", "told")}
