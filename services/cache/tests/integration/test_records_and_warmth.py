"""Records and warmth as their callers meet them: over gRPC, across restarts."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from layer.cache.v1 import cache_pb2
from layer.cache.v1.cache_pb2_grpc import CacheServiceStub, RecordServiceStub, WarmthServiceStub
from layer_kit.errors import LayerError
from layer_kit.rpc.client import invoke, open_channel
from layer_testing.processes import ServiceProcess, running

TIMEOUT_S = 5.0
CHUNK = cache_pb2.RECORD_KIND_CHUNK


class Client:
    """The services of one cache process."""

    def __init__(self, address: str, process: ServiceProcess) -> None:
        self.channel = open_channel(address, retries=False)
        self.rows = CacheServiceStub(self.channel)
        self.records = RecordServiceStub(self.channel)
        self.warmth = WarmthServiceStub(self.channel)
        self.process = process

    async def put(
        self, keys: dict[bytes, bytes], *, scope: str = "manuals", ttl_ms: int = 0
    ) -> int:
        request = cache_pb2.PutRecordsRequest(
            kind=CHUNK, scope=scope, keys=keys.keys(), values=keys.values(), ttl_ms=ttl_ms
        )
        return (await self.records.PutRecords(request)).stored_count

    async def get(self, *keys: bytes, scope: str = "manuals") -> dict[bytes, bytes]:
        request = cache_pb2.GetRecordsRequest(kind=CHUNK, scope=scope, keys=keys)
        found = await self.records.GetRecords(request)
        assert list(found.sizes_bytes) == list(map(len, found.values))
        return {
            keys[at]: value for at, value in zip(found.hit_positions, found.values, strict=True)
        }

    async def listed(self, prefix: bytes = b"", *, page_size: int = 0) -> list[list[bytes]]:
        request = cache_pb2.ScanRecordsRequest(
            kind=CHUNK, scope="manuals", key_prefix=prefix, page_size=page_size
        )
        return [list(page.keys) async for page in self.records.ScanRecords(request)]

    async def state(self, namespace: str = "books") -> cache_pb2.NamespaceWarmth:
        request = cache_pb2.GetWarmthRequest(namespaces=[namespace])
        return (await self.warmth.GetWarmth(request)).namespaces[0]

    async def make_warm(self) -> None:
        begun = await self.warmth.BeginWarming(cache_pb2.BeginWarmingRequest(namespace="books"))
        finished = await self.warmth.FinishWarming(
            cache_pb2.FinishWarmingRequest(
                namespace="books", warm_id=begun.warm_id, warmed_through_ms=5000
            )
        )
        assert finished.is_warm


Start = Callable[..., AbstractAsyncContextManager[Client]]


@pytest.fixture
def start_client(tmp_path: Path) -> Start:
    @asynccontextmanager
    async def run(**environment: str) -> AsyncIterator[Client]:
        settings = {
            "LAYER_CACHE_GRPC_ADDRESS": "127.0.0.1:0",
            "LAYER_CACHE_DATA_DIRECTORY": str(tmp_path / "cache"),
            "LAYER_CACHE_DISK_BYTES_MAX": str(16 * 1024 * 1024),
        }
        async with running("layer_cache", **(settings | environment)) as process:
            client = Client(process.addresses["grpc"], process)
            try:
                yield client
            finally:
                await client.channel.close()

    return run


async def test_records_are_put_got_listed_and_deleted(start_client: Start) -> None:
    async with start_client() as client:
        chunks = {b"m-1\0%02d" % number: b"text %d" % number for number in range(5)}
        assert await client.put(chunks | {b"m-1": b"itself", b"m-2\0" + b"00": b"other"}) == 7
        assert await client.get(b"m-1\x0003", b"none", b"m-1") == {
            b"m-1\x0003": b"text 3",
            b"m-1": b"itself",
        }
        assert await client.get(b"m-1", scope="another") == {}
        assert await client.listed(b"m-1\0", page_size=2) == [
            [b"m-1\x0000", b"m-1\x0001"],
            [b"m-1\x0002", b"m-1\x0003"],
            [b"m-1\x0004"],
        ]
        assert sum(map(len, await client.listed(b"m-1"))) == 6
        assert sum(map(len, await client.listed())) == 7

        await client.put({b"m-1": b"replaced"})
        await client.records.DeleteRecords(
            cache_pb2.DeleteRecordsRequest(kind=CHUNK, scope="manuals", keys=[b"m-1\x0003", b"x"])
        )
        assert await client.get(b"m-1\x0003", b"m-1") == {b"m-1": b"replaced"}


async def test_a_dropped_scope_is_empty_and_others_are_not(start_client: Start) -> None:
    async with start_client() as client:
        await client.put({b"k": b"1"})
        await client.put({b"k": b"2"}, scope="manuals2")
        await client.records.DropRecords(cache_pb2.DropRecordsRequest(kind=CHUNK, scope="manuals"))
        assert await client.get(b"k") == {}
        assert await client.listed() == []
        assert await client.get(b"k", scope="manuals2") == {b"k": b"2"}
        await client.put({b"k": b"3"})
        assert await client.get(b"k") == {b"k": b"3"}


async def test_blobs_are_known_by_their_digest_and_size(start_client: Start) -> None:
    blob = bytes(range(256)) * 40_000
    key = hashlib.sha256(blob).digest()
    async with start_client() as client:
        put = cache_pb2.PutRecordsRequest(
            kind=cache_pb2.RECORD_KIND_BLOB, scope="books", keys=[key], values=[blob]
        )
        assert (await client.records.PutRecords(put)).stored_count == 1
        get = cache_pb2.GetRecordsRequest(
            kind=cache_pb2.RECORD_KIND_BLOB, scope="books", keys=[bytes(32), key], sizes_only=True
        )
        index = await client.records.GetRecords(get)
        assert list(index.hit_positions) == [1]
        assert list(index.sizes_bytes) == [len(blob)]
        assert list(index.values) == [b""]
        get.sizes_only = False
        assert list((await client.records.GetRecords(get)).values) == [blob]


async def test_a_record_lives_as_long_as_it_was_given(start_client: Start) -> None:
    async with start_client() as client:
        await client.put({b"short": b"1"}, ttl_ms=1)
        await client.put({b"long": b"1"}, ttl_ms=3_600_000)
        async with asyncio.timeout(TIMEOUT_S):
            while b"short" in await client.get(b"short"):
                pass
        assert await client.listed() == [[b"long"]]


async def test_records_survive_restarts_and_rows_do_not_push_them_out(start_client: Start) -> None:
    async with start_client() as client:
        await client.put({b"k": b"1"})
        ids = [b"u%d" % number for number in range(30)]
        body = random.Random(3).randbytes(1_000_000)  # noqa: S311 -- what does not compress
        lookup = cache_pb2.LookupRowsRequest(namespace="books", ids=ids)
        for id_ in ids:
            token = (await client.rows.LookupRows(lookup)).read_token
            await client.rows.BackfillRows(
                cache_pb2.BackfillRowsRequest(
                    namespace="books", read_token=token, ids=[id_], bodies=[body]
                )
            )
        figures = await client.rows.GetStatistics(cache_pb2.GetStatisticsRequest())
        assert figures.record_count == 1
        assert figures.record_disk_bytes_max == 256 * 1024**2
    async with start_client() as client:
        assert await client.get(b"k") == {b"k": b"1"}


REFUSED = {
    "KIND_INVALID": cache_pb2.PutRecordsRequest(scope="m", keys=[b"k"], values=[b"v"]),
    "SCOPE_INVALID": cache_pb2.PutRecordsRequest(kind=CHUNK, keys=[b"k"], values=[b"v"]),
    "KEY_INVALID": cache_pb2.PutRecordsRequest(kind=CHUNK, scope="m", keys=[b""], values=[b"v"]),
    "TOO_MANY_KEYS": cache_pb2.PutRecordsRequest(
        kind=CHUNK, scope="m", keys=[b"k"] * 1001, values=[b"v"] * 1001
    ),
    "COLUMNS_DIFFER": cache_pb2.PutRecordsRequest(kind=CHUNK, scope="m", keys=[b"k"]),
    "RECORD_TOO_LARGE": cache_pb2.PutRecordsRequest(
        kind=CHUNK, scope="m", keys=[b"k"], values=[bytes(16 * 1024**2 + 1)]
    ),
    "TTL_OUT_OF_RANGE": cache_pb2.PutRecordsRequest(
        kind=CHUNK, scope="m", keys=[b"k"], values=[b"v"], ttl_ms=-1
    ),
}


async def test_every_refusal_of_a_record_names_its_reason(start_client: Start) -> None:
    async with start_client() as client:
        for reason, request in REFUSED.items():
            with pytest.raises(LayerError) as caught:
                await invoke(client.records.PutRecords, request, timeout_s=TIMEOUT_S)
            assert caught.value.reason == reason


async def test_warmth_survives_a_clean_restart_and_no_crash(start_client: Start) -> None:
    async with start_client() as client:
        assert (await client.state()).state == cache_pb2.WARM_STATE_COLD
        await client.make_warm()
        warm = await client.state()
        assert warm.state == cache_pb2.WARM_STATE_WARM
        assert warm.warmed_through_ms == 5000
        await client.process.terminate()
    async with start_client() as client:
        again = await client.state()
        assert (again.state, again.warmed_through_ms) == (cache_pb2.WARM_STATE_WARM, 5000)
        assert again.warm_number != warm.warm_number
        await client.process.kill()
    async with start_client() as client:
        assert (await client.state()).state == cache_pb2.WARM_STATE_COLD


async def test_the_state_of_a_namespace_waits_for_the_writes_under_way_to_its_rows(
    start_client: Start,
) -> None:
    async with start_client() as client:
        rows = client.rows
        looked_up = await rows.LookupRows(
            cache_pb2.LookupRowsRequest(namespace="books", ids=[b"u1"])
        )
        await rows.BackfillRows(
            cache_pb2.BackfillRowsRequest(
                namespace="books", read_token=looked_up.read_token, ids=[b"u1"], bodies=[b"{}"]
            )
        )
        session = await rows.OpenSession(cache_pb2.OpenSessionRequest(member_id="gateway"))
        await client.make_warm()
        before = await client.state()
        fence = cache_pb2.FenceRowsRequest(
            session_id=session.session_id,
            namespace="books",
            fence_id=b"refused",
            ids=[b"u1"],
            ttl_ms=60_000,
        )
        await rows.FenceRows(fence)
        assert not (await rows.CountRows(cache_pb2.CountRowsRequest(namespace="books"))).row_count

        telling = asyncio.create_task(client.state())
        await rows.SettleRows(
            cache_pb2.SettleRowsRequest(
                namespace="books", fence_id=b"refused", lift_ids=[b"u1"], is_outcome_known=True
            )
        )

        after = await telling
        assert after.warmed_through_ms == before.warmed_through_ms
        assert after.warm_number not in {before.warm_number, 0}
        assert (await rows.CountRows(cache_pb2.CountRowsRequest(namespace="books"))).row_count == 1


async def test_a_warming_is_begun_once_reported_and_given_up(start_client: Start) -> None:
    async with start_client() as client:
        begin = cache_pb2.BeginWarmingRequest(namespace="books")
        warm_id = (await client.warmth.BeginWarming(begin)).warm_id
        assert warm_id
        assert not (await client.warmth.BeginWarming(begin)).warm_id
        await client.warmth.ReportWarming(
            cache_pb2.ReportWarmingRequest(namespace="books", warm_id=warm_id)
        )
        found = await client.warmth.GetWarmth(cache_pb2.GetWarmthRequest())
        assert [(one.namespace, one.state) for one in found.namespaces] == [
            ("books", cache_pb2.WARM_STATE_WARMING)
        ]
        known = cache_pb2.GetWarmthRequest(known_revision=found.revision)
        same = await client.warmth.GetWarmth(known)
        assert (same.is_unchanged, same.revision, len(same.namespaces)) == (True, found.revision, 0)
        for moment_ms in (-1, 2**53):
            with pytest.raises(
                LayerError, match="warmed_through_ms must be within 0 and"
            ) as caught:
                await invoke(
                    client.warmth.FinishWarming,
                    cache_pb2.FinishWarmingRequest(
                        namespace="books", warm_id=warm_id, warmed_through_ms=moment_ms
                    ),
                    timeout_s=TIMEOUT_S,
                )
            assert caught.value.reason == "MOMENT_OUT_OF_RANGE"
        gone = await client.warmth.FinishWarming(
            cache_pb2.FinishWarmingRequest(namespace="books", warm_id=warm_id)
        )
        assert not gone.is_warm
        changed = await client.warmth.GetWarmth(known)
        assert (changed.is_unchanged, len(changed.namespaces)) == (False, 0)
        assert changed.revision not in {"", found.revision}
        with pytest.raises(LayerError) as caught:
            await invoke(
                client.warmth.ReportWarming,
                cache_pb2.ReportWarmingRequest(namespace="books", warm_id=warm_id),
                timeout_s=TIMEOUT_S,
            )
        assert caught.value.reason == "WARM_UNKNOWN"
        with pytest.raises(LayerError) as caught:
            await invoke(
                client.warmth.GetWarmth,
                cache_pb2.GetWarmthRequest(namespaces=["books"] * 1001),
                timeout_s=TIMEOUT_S,
            )
        assert caught.value.reason == "TOO_MANY_NAMESPACES"
