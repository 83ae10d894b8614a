"""Writes: what the store is sent, and what the next read of the same gateway sees."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from layer_testing.edge_calls import EdgeCaller
from layer_testing.gateway_calls import KEY, embedded_store, gateway_over
from layer_testing.processes import running
from layer_testing.scripted_store import ScriptedStore, answer
from layer_wire.reserved import MARKER_ID, MARKER_SHARD_COUNT, SHARD, UPSERTED_AT

pytestmark = pytest.mark.asyncio(loop_scope="module")

FIND_MARKER = {
    "rank_by": ["id", "asc"],
    "top_k": 1,
    "filters": ["id", "Eq", MARKER_ID],
    "include_attributes": True,
    "consistency": {"level": "eventual"},
}
VECTOR_BASE64 = "AAAAPwAAgL8="  # [0.5, -1.0]


class TestWhatIsSent:
    """Against a scripted store, so that every byte is seen."""

    async def test_the_worked_example(self, edge: EdgeCaller, store: ScriptedStore) -> None:
        store.namespace("tools")
        body = {
            "upsert_rows": [
                {"id": "t-1", "vector": [0.5, -1.0], "kind": "saw"},
                {"id": "t-2", "vector": VECTOR_BASE64, "kind": "saw"},
            ],
            "patch_columns": {"id": ["t-3", "t-4"], "rating": [5, None]},
            "deletes": ["t-9"],
            "distance_metric": "cosine_distance",
        }
        before_ms = time.time_ns() // 1_000_000
        received = await edge("POST", "/v2/namespaces/tools", body)
        after_ms = time.time_ns() // 1_000_000
        asked = [f"{request.method} {request.path}" for request in store.requests]
        assert asked == [
            "GET /v1/namespaces/tools/schema",
            "POST /v2/namespaces/tools/query",
            "POST /v2/namespaces/tools",
        ]
        assert store.requests[1].json == FIND_MARKER
        sent = store.requests[2].json
        at = sent["upsert_rows"][0][UPSERTED_AT]
        assert before_ms <= at <= after_ms
        assert sent == {
            "upsert_rows": [
                {"id": "t-1", "vector": [0.5, -1.0], "kind": "saw", UPSERTED_AT: at, SHARD: 10},
                {"id": "t-2", "vector": VECTOR_BASE64, "kind": "saw", UPSERTED_AT: at, SHARD: 9},
            ],
            "patch_columns": {
                "id": ["t-3", "t-4"],
                "rating": [5, None],
                UPSERTED_AT: [at, at],
                SHARD: [14, 8],
            },
            "deletes": ["t-9"],
            "distance_metric": "cosine_distance",
        }
        assert store.requests[2].header(b"content-type") == b"application/json"
        assert received.json == {"status": "OK", "message": "", "rows_affected": 1, "billing": {}}

    async def test_numbers_keep_their_type_and_are_sharded_by_their_text(
        self, edge: EdgeCaller, store: ScriptedStore
    ) -> None:
        store.namespace("numbers", id="uint")
        body = b'{"upsert_rows":[{"id":42,"f":1.50,"big":18446744073709551615,"e":1E+2}]}'
        json_type = {"content-type": "application/json"}
        await edge("POST", "/v2/namespaces/numbers", body, json_type)
        (request,) = store.asked("POST /v2/namespaces/numbers")
        assert request.json["upsert_rows"][0] | {UPSERTED_AT: 0} == {
            "id": 42, "f": 1.5, "big": 2**64 - 1, "e": 100.0, UPSERTED_AT: 0, SHARD: 9,
        }  # fmt: skip
        for spelling in (b'"f":1.50', b"1E+2", b"18446744073709551615"):
            assert spelling in request.body
        # The marker's id is a string, which a namespace of numbers cannot have.
        assert store.asked("POST /v2/namespaces/numbers/query") == []

    async def test_stamps_of_the_caller_are_overwritten_and_unknown_fields_kept(
        self, edge: EdgeCaller, store: ScriptedStore
    ) -> None:
        store.namespace("kept")
        row = {"id": "t-1", UPSERTED_AT: 1, SHARD: 99}
        body = {"patch_rows": [row], "new_field": {"x": [1]}, "return_affected_ids": False}
        await edge("POST", "/v2/namespaces/kept?stainless_overload=copyFrom", body)
        (request,) = store.asked("POST /v2/namespaces/kept")
        (sent,) = request.json["patch_rows"]
        assert (sent[SHARD], sent[UPSERTED_AT] > 1) == (10, True)
        assert request.json["new_field"] == {"x": [1]}
        assert request.json["return_affected_ids"] is False

    @pytest.mark.parametrize(
        "body",
        [
            {"delete_by_filter": ["kind", "Eq", "drill"]},
            {"delete_by_filter": ["kind", "Eq", "drill"], "return_affected_ids": False},
            {"deletes": ["t-1"], "delete_condition": ["v", "Lt", 1]},
            {"upsert_rows": [{"id": "t-1"}], "upsert_condition": ["v", "Lt", 1]},
        ],
    )
    async def test_what_a_filter_decides_is_asked_for(
        self, edge: EdgeCaller, store: ScriptedStore, body: dict[str, Any]
    ) -> None:
        store.namespace("decided")
        await edge("POST", "/v2/namespaces/decided", body)
        sent = store.asked("POST /v2/namespaces/decided")[0].json
        assert sent["return_affected_ids"] is True
        assert sent.keys() - {"upsert_rows"} == (
            body.keys() | {"return_affected_ids"}
        ) - {"upsert_rows"}  # fmt: skip

    async def test_a_patch_by_filter_is_stamped_with_the_time_alone(
        self, edge: EdgeCaller, store: ScriptedStore
    ) -> None:
        store.namespace("patched")
        by_filter = {"filters": ["k", "Eq", 1], "patch": {"k": 2, SHARD: 3}}
        await edge("POST", "/v2/namespaces/patched", {"patch_by_filter": by_filter})
        sent = store.asked("POST /v2/namespaces/patched")[0].json["patch_by_filter"]
        assert sent["patch"].keys() == {"k", UPSERTED_AT}
        assert sent["filters"] == ["k", "Eq", 1]

    @pytest.mark.parametrize(
        "body",
        [
            b'{ "schema" : {"kind": "string"} }',
            b'{"copy_from_namespace":"old"}',
            b'{"upsert_rows":null,"unknown":1}',
            b"[1, 2]",
            b'"text"',
        ],
    )
    async def test_a_body_without_rows_is_sent_untouched(
        self, edge: EdgeCaller, store: ScriptedStore, body: bytes
    ) -> None:
        store.namespace("bare")
        await edge("POST", "/v2/namespaces/bare", body, {"content-type": "application/json"})
        (request,) = store.requests
        assert (request.path, request.body) == ("/v2/namespaces/bare", body)

    async def test_the_first_write_of_what_is_embedded_names_its_metric(
        self, edge: EdgeCaller, store: ScriptedStore
    ) -> None:
        embedded = {"text": {"type": "string", "embed": "some-model"}}
        body = {"upsert_rows": [{"id": "a", "text": "saw"}], "schema": embedded}
        refused = await edge("POST", "/v2/namespaces/unmade", body)
        assert (refused.status, refused.json["reason"]) == (422, "DISTANCE_METRIC_MISSING")
        assert "distance_metric" in refused.json["message"]
        assert store.asked("POST /v2/namespaces/unmade") == []
        for more in (
            {"distance_metric": "cosine_distance"},
            {"schema": {"text": {"type": "string", "embed": None}}},
        ):
            await edge("POST", "/v2/namespaces/unmade", body | more)
        store.namespace("made")
        await edge("POST", "/v2/namespaces/made", body)
        assert len(store.asked("POST /v2/namespaces/unmade")) == 2
        assert len(store.asked("POST /v2/namespaces/made")) == 1

    async def test_the_marker_row_decides_on_shards_and_is_read_once(
        self, edge: EdgeCaller, store: ScriptedStore
    ) -> None:
        store.namespace("marked", rows=({"id": MARKER_ID, MARKER_SHARD_COUNT: 4},))
        write = ("POST", "/v2/namespaces/marked", {"upsert_rows": [{"id": "t-1"}, {"id": "t-4"}]})
        await asyncio.gather(*(edge(*write) for _ in range(5)))
        await edge(*write)
        assert len(store.asked("POST /v2/namespaces/marked/query")) == 1
        assert len(store.asked("GET /v1/namespaces/marked/schema")) == 1
        for request in store.asked("POST /v2/namespaces/marked"):
            assert [row[SHARD] for row in request.json["upsert_rows"]] == [2, 0]

    async def test_a_namespace_that_does_not_exist_is_looked_for_before_each_write(
        self, edge: EdgeCaller, store: ScriptedStore
    ) -> None:
        store.answers["POST /v2/namespaces/coming"] = answer({"status": "OK"})
        for _ in range(2):
            await edge("POST", "/v2/namespaces/coming", {"upsert_rows": [{"id": "t-1"}]})
        assert len(store.asked("GET /v1/namespaces/coming/schema")) == 2
        assert store.asked("POST /v2/namespaces/coming/query") == []
        store.namespace("coming")
        for _ in range(2):
            await edge("POST", "/v2/namespaces/coming", {"upsert_rows": [{"id": "t-1"}]})
        assert len(store.asked("GET /v1/namespaces/coming/schema")) == 3

    async def test_facts_are_asked_for_anew_when_their_time_is_over(
        self, store: ScriptedStore
    ) -> None:
        store.requests.clear()
        store.namespace("aging")
        async with gateway_over(store.url, LAYER_GATEWAY_FACTS_TTL_S="0") as process:
            edge = EdgeCaller(process.addresses["http"], key=KEY)
            for _ in range(3):
                await edge("POST", "/v2/namespaces/aging", {"upsert_rows": [{"id": "t-1"}]})
        assert len(store.asked("GET /v1/namespaces/aging/schema")) == 3

    async def test_the_shard_count_of_the_settings_is_used_without_a_marker(
        self, store: ScriptedStore
    ) -> None:
        store.requests.clear()
        store.namespace("few")
        async with gateway_over(store.url, LAYER_SHARD_COUNT="4") as process:
            edge = EdgeCaller(process.addresses["http"], key=KEY)
            await edge("POST", "/v2/namespaces/few", {"upsert_rows": [{"id": "t-1"}]})
        (request,) = store.asked("POST /v2/namespaces/few")
        assert request.json["upsert_rows"][0][SHARD] == 2

    async def test_the_callers_trace_and_agent_go_along(
        self, edge: EdgeCaller, store: ScriptedStore
    ) -> None:
        store.namespace("traced")
        trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        headers = {"traceparent": trace, "user-agent": "mine/1", "cookie": "a=b"}
        await edge("POST", "/v2/namespaces/traced", {"upsert_rows": [{"id": "t-1"}]}, headers)
        request = store.requests[-1]
        assert request.header(b"traceparent") == trace.encode()
        assert request.header(b"user-agent") == b"mine/1"
        assert request.header(b"cookie") is None


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EdgeCaller]:
    """Run the embedded store, the cache and a gateway; all of them are real."""
    home: Path = tmp_path_factory.mktemp("system")
    async with (
        embedded_store(home / "store") as url,
        running(
            "layer_cache",
            LAYER_CACHE_GRPC_ADDRESS="127.0.0.1:0",
            LAYER_CACHE_DATA_DIRECTORY=str(home / "cache"),
        ) as cache,
        gateway_over(url, LAYER_GATEWAY_CACHE_ADDRESS=cache.addresses["grpc"]) as process,
    ):
        caller = EdgeCaller(process.addresses["http"], key=KEY)
        assert (await caller("GET", "/health")).json["aerospike"]["connected"]
        yield caller


class TestWhatIsReadNext:
    """Against real parts: a row is fetched as it was written, and from the cache."""

    async def write(self, system: EdgeCaller, name: str, **fields: object) -> dict[str, Any]:
        received = await system("POST", f"/v2/namespaces/{name}", fields)
        assert received.status == 200, received.body
        found: dict[str, Any] = received.json
        return found

    async def fetch(self, system: EdgeCaller, name: str, id_: str) -> tuple[Any, str]:
        received = await system("GET", f"/v2/namespaces/{name}/documents/{id_}")
        if received.status == 404:
            return None, ""
        attributes = received.json["attributes"]
        return {k: v for k, v in attributes.items() if not k.startswith("_")}, received[
            "x-layer-cache"
        ]

    async def test_an_upsert_is_a_hit_at_once(self, system: EdgeCaller) -> None:
        await self.write(system, "upserts", upsert_rows=[{"id": "a", "k": 1, "gone": None}])
        assert await self.fetch(system, "upserts", "a") == ({"k": 1}, "hit")
        await self.write(system, "upserts", upsert_columns={"id": ["a"], "other": ["x"]})
        assert await self.fetch(system, "upserts", "a") == ({"other": "x"}, "hit")

    async def test_a_patch_merges_into_a_cached_row_alone(self, system: EdgeCaller) -> None:
        await self.write(system, "patches", upsert_rows=[{"id": "a", "k": 1, "s": "x"}])
        await self.write(system, "patches", patch_rows=[{"id": "a", "k": 2}])
        assert await self.fetch(system, "patches", "a") == ({"k": 2, "s": "x"}, "hit")
        await self.write(system, "patches", patch_rows=[{"id": "a", "s": None}])
        assert (await self.fetch(system, "patches", "a"))[0] == {"k": 2}
        await self.write(system, "patches", patch_rows=[{"id": "absent", "k": 2}])
        assert await self.fetch(system, "patches", "absent") == (None, "")

    async def test_a_deleted_row_is_gone_at_once(self, system: EdgeCaller) -> None:
        await self.write(system, "deletes", upsert_rows=[{"id": "a"}, {"id": "b"}])
        await self.write(system, "deletes", deletes=["a"])
        assert await self.fetch(system, "deletes", "a") == (None, "")
        assert await self.fetch(system, "deletes", "b") == ({}, "hit")

    async def test_a_conditional_write_settles_what_was_applied(self, system: EdgeCaller) -> None:
        rows = [{"id": name, "v": version} for name, version in (("old", 1), ("new", 9))]
        await self.write(system, "conditional", upsert_rows=rows)
        answered = await self.write(
            system,
            "conditional",
            upsert_rows=[{"id": "old", "v": 5}, {"id": "new", "v": 5}],
            upsert_condition=["v", "Lt", 5],
        )
        assert answered["upserted_ids"] == ["old"]
        assert await self.fetch(system, "conditional", "old") == ({"v": 5}, "hit")
        assert await self.fetch(system, "conditional", "new") == ({"v": 9}, "hit")

    async def test_writes_by_filter_are_seen_at_once(self, system: EdgeCaller) -> None:
        rows = [{"id": f"r{at}", "k": at} for at in range(4)]
        await self.write(system, "filtered", upsert_rows=rows)
        await self.write(system, "filtered", delete_by_filter=["k", "Lt", 1])
        assert await self.fetch(system, "filtered", "r0") == (None, "")
        by_filter = {"filters": ["k", "Eq", 2], "patch": {"k": 20}}
        await self.write(system, "filtered", patch_by_filter=by_filter)
        assert await self.fetch(system, "filtered", "r2") == ({"k": 20}, "miss")
        assert await self.fetch(system, "filtered", "r3") == ({"k": 3}, "hit")

    async def test_a_refused_write_leaves_the_row_as_it_was(self, system: EdgeCaller) -> None:
        vector = [1.0, 2.0]
        await self.write(
            system,
            "refused",
            upsert_rows=[{"id": "a", "k": 1, "vector": vector}],
            distance_metric="cosine_distance",
        )
        bad = {"upsert_rows": [{"id": "a", "k": 2, "vector": [1.0]}]}
        assert (await system("POST", "/v2/namespaces/refused", bad)).status == 400
        assert await self.fetch(system, "refused", "a") == ({"k": 1}, "hit")

    async def test_a_copy_and_a_deletion_are_seen_at_once(self, system: EdgeCaller) -> None:
        await self.write(system, "source", upsert_rows=[{"id": "a", "k": 1}])
        await self.write(system, "target", copy_from_namespace="source")
        assert (await self.fetch(system, "target", "a"))[0] == {"k": 1}
        assert (await system("DELETE", "/v2/namespaces/target")).json["status"] == "OK"
        received = await system("GET", "/v2/namespaces/target/documents/a")
        assert received.json["reason"] == "NAMESPACE_NOT_FOUND"
        await self.write(system, "target", upsert_rows=[{"id": 7, "k": 2}])
        assert await self.fetch(system, "target", "7") == ({"k": 2}, "hit")

    async def test_deleting_what_is_not_there_is_no_error(self, system: EdgeCaller) -> None:
        received = await system("DELETE", "/v2/namespaces/never-there")
        assert received.json == {
            "status": "OK",
            "message": "namespace deleted; purged 0 S3 object(s)",
        }

    async def test_a_date_is_read_back_as_the_store_spells_it(self, system: EdgeCaller) -> None:
        schema = {"at": "datetime"}
        row = {"id": "a", "at": "2024-01-01T00:00:00+02:00"}
        await self.write(system, "dates", upsert_rows=[row], schema=schema)
        first, _ = await self.fetch(system, "dates", "a")
        assert first["at"] != row["at"]
        assert await self.fetch(system, "dates", "a") == (first, "hit")
