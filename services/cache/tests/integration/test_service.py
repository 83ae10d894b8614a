"""The cache as its callers meet it: rows, filters and refusals over gRPC."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import grpc
import grpc.aio
import pytest

from layer.cache.v1 import cache_pb2
from layer.cache.v1.cache_pb2_grpc import CacheServiceStub
from layer_cache_testing.calls import BODY, TIMEOUT_S, Start, fill, lookup, open_session
from layer_kit.errors import LayerError, UnsupportedError
from layer_kit.rpc.client import invoke


async def test_rows_travel_through_every_call(start: Start) -> None:
    async with start() as (cache, _):
        session = await cache.OpenSession(cache_pb2.OpenSessionRequest(member_id="gateway"))
        assert (session.lease_ms, session.declared_gone_ms) == (2000, 30_000)
        await fill(cache, b"u1", b"u2", b"u3")
        fence = cache_pb2.FenceRowsRequest(
            session_id=session.session_id,
            namespace="books",
            fence_id=b"f",
            ids=[b"u1", b"u2", b"u4"],
            ttl_ms=1000,
        )
        await cache.FenceRows(fence)
        assert list((await lookup(cache, b"u1", b"u3")).hit_positions) == [1]
        settled = await cache.SettleRows(
            cache_pb2.SettleRowsRequest(
                namespace="books",
                fence_id=b"f",
                put_ids=[b"u4"],
                put_bodies=[b'{"title":"Persuasion"}'],
                patch_ids=[b"u1"],
                patch_bodies=[b'{"year":1816}'],
            )
        )
        assert (settled.stored_count, settled.is_fence_lost) == (2, False)

        found = await cache.LookupRows(
            cache_pb2.LookupRowsRequest(
                namespace="books",
                ids=[b"u1", b"u2", b"u3", b"u4"],
                attribute_names=["year"],
                with_vectors=True,
            )
        )
        assert list(found.hit_positions) == [0, 2, 3]
        assert list(found.bodies) == [b'{"year":1816}', b'{"year":1815}', b"{}"]
        assert list(found.vectors) == [b'{"vector":[1.5]}', b'{"vector":[1.5]}', b""]

        pages = [
            page
            async for page in cache.ScanRows(
                cache_pb2.ScanRowsRequest(namespace="books", page_size=2)
            )
        ]
        assert [list(page.ids) for page in pages] == [[b"u1", b"u3"], [b"u4"]]
        count = await cache.CountRows(cache_pb2.CountRowsRequest(namespace="books"))
        assert count.row_count == 3
        renewal = await cache.RenewSession(
            cache_pb2.RenewSessionRequest(
                session_id=session.session_id, elapsed_ms=10, answered_renewal_number=1
            )
        )
        assert renewal.renewal_number == 2

        await cache.InvalidateNamespace(
            cache_pb2.InvalidateNamespaceRequest(namespace="books", session_id=session.session_id)
        )
        assert not (await lookup(cache, b"u1")).hit_positions
        figures = await cache.GetStatistics(cache_pb2.GetStatisticsRequest())
        assert (figures.backend, figures.member_count, figures.fence_count) == ("embedded", 1, 0)
        assert figures.disk_bytes_max == 16 * 1024 * 1024


async def fill_shelf(cache: CacheServiceStub) -> None:
    rows = {
        b"s1": b'{"title":"Emma","year":1815,"_hevlayer_upserted_at":10}',
        b"s2": b'{"title":"Ivanhoe","year":1819,"_hevlayer_upserted_at":30}',
        b"s3": b'{"title":"Undated"}',
        b"s_hevlayer:namespace_meta": b'{"_hevlayer_shard_count":4}',
    }
    await cache.BackfillRows(
        cache_pb2.BackfillRowsRequest(
            namespace="books",
            read_token=(await lookup(cache, *rows)).read_token,
            ids=rows.keys(),
            bodies=rows.values(),
        )
    )


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (cache_pb2.RowSelection(), [b"s1", b"s2", b"s3"]),
        (cache_pb2.RowSelection(upserted_until_ms=0), [b"s3"]),
        (cache_pb2.RowSelection(upserted_until_ms=10), [b"s1", b"s3"]),
        (
            cache_pb2.RowSelection(
                filter=b'["Or",[["year","Gt",1815],["id","Eq","s3"],["title","In",["Undated"]]]]',
                attribute_types={"year": "int", "id": "string", "title": "string"},
                upserted_until_ms=40,
            ),
            [b"s2", b"s3"],
        ),
    ],
    ids=["all", "never stamped", "until", "filter and until"],
)
async def test_counts_and_scans_keep_the_rows_selected(
    start: Start, selection: cache_pb2.RowSelection, expected: list[bytes]
) -> None:
    async with start() as (cache, _):
        await fill_shelf(cache)
        count = await cache.CountRows(
            cache_pb2.CountRowsRequest(namespace="books", selection=selection)
        )
        scan = cache_pb2.ScanRowsRequest(namespace="books", selection=selection, ids_only=True)
        pages = [page async for page in cache.ScanRows(scan)]
    assert [row_id for page in pages for row_id in page.ids] == expected
    assert [body for page in pages for body in page.bodies] == []
    assert count.row_count == len(expected)


@pytest.mark.parametrize(
    "selection",
    [
        cache_pb2.RowSelection(filter=b'["year","Gt",1815]'),
        cache_pb2.RowSelection(filter=b'["title","Eq","Emma"]', attribute_types={"title": "int"}),
        cache_pb2.RowSelection(filter=b'["year","Gt",0]', attribute_types={"year": "string"}),
        cache_pb2.RowSelection(filter=b"no JSON"),
    ],
    ids=["no type", "operand", "rows", "text"],
)
async def test_a_filter_that_only_the_store_can_judge_is_refused(
    start: Start, selection: cache_pb2.RowSelection
) -> None:
    async with start() as (cache, _):
        await fill_shelf(cache)
        with pytest.raises(UnsupportedError) as caught:
            await invoke(
                cache.CountRows,
                cache_pb2.CountRowsRequest(namespace="books", selection=selection),
                timeout_s=TIMEOUT_S,
            )
    assert caught.value.reason == "FILTER_UNSUPPORTED"


REFUSED = {
    "NAMESPACE_INVALID": cache_pb2.LookupRowsRequest(namespace="no/slash", ids=[b"u1"]),
    "TOO_MANY_IDS": cache_pb2.LookupRowsRequest(namespace="books", ids=[b"u1"] * 10_001),
    "ID_INVALID": cache_pb2.LookupRowsRequest(namespace="books", ids=[b""]),
    "TOO_MANY_ATTRIBUTES": cache_pb2.LookupRowsRequest(
        namespace="books", ids=[b"u1"], attribute_names=["a"] * 1025
    ),
    "ATTRIBUTE_NAME_INVALID": cache_pb2.LookupRowsRequest(
        namespace="books", ids=[b"u1"], attribute_names=["title", ""]
    ),
    "COLUMNS_DIFFER": cache_pb2.BackfillRowsRequest(namespace="books", ids=[b"u1"]),
    "READ_TOKEN_INVALID": cache_pb2.BackfillRowsRequest(
        namespace="books", ids=[b"u1"], bodies=[b"{}"], read_token=b"guess"
    ),
    "TTL_OUT_OF_RANGE": cache_pb2.FenceRowsRequest(namespace="books", fence_id=b"f", ttl_ms=999),
    "FENCE_ID_INVALID": cache_pb2.FenceRowsRequest(namespace="books", ttl_ms=1000),
    "SESSION_UNKNOWN": cache_pb2.FenceRowsRequest(
        namespace="books", fence_id=b"f", ttl_ms=1000, session_id="none"
    ),
    "MEMBER_ID_INVALID": cache_pb2.OpenSessionRequest(),
    "TOO_MANY_DIRTY_IDS": cache_pb2.OpenSessionRequest(
        member_id="g", dirty_ids=[b"u1"] * 100_001, dirty_id_namespaces=["books"] * 100_001
    ),
    "RENEWAL_INVALID": cache_pb2.RenewSessionRequest(session_id="none", elapsed_ms=1),
}
NEGATIVE_PAGE = cache_pb2.ScanRowsRequest(namespace="books", page_size=-1)


async def test_every_refusal_names_its_reason(start: Start) -> None:
    async with start() as (cache, _):
        methods: dict[type, Callable[..., Awaitable[object]]] = {
            cache_pb2.LookupRowsRequest: cache.LookupRows,
            cache_pb2.BackfillRowsRequest: cache.BackfillRows,
            cache_pb2.FenceRowsRequest: cache.FenceRows,
            cache_pb2.OpenSessionRequest: cache.OpenSession,
            cache_pb2.RenewSessionRequest: cache.RenewSession,
        }
        reasons = {}
        for reason, request in REFUSED.items():
            with pytest.raises(LayerError) as caught:
                await invoke(methods[type(request)], request, timeout_s=TIMEOUT_S)
            reasons[reason] = caught.value.reason
        with pytest.raises(grpc.aio.AioRpcError, match="page_size"):
            await anext(aiter(cache.ScanRows(NEGATIVE_PAGE, timeout=TIMEOUT_S)))
        assert reasons == dict(zip(REFUSED, REFUSED, strict=True))


@pytest.mark.parametrize(
    "row_id",
    [b"", b"s\xff", b"s\xc3", b"s" * 257],
    ids=["empty", "no UTF-8", "part of a character", "long"],
)
async def test_ids_that_are_none_change_nothing_whatever_the_call(
    start: Start, row_id: bytes
) -> None:
    async with start() as (cache, _):
        session = await open_session(cache)
        await fill(cache, b"u1")
        token = (await lookup(cache, b"u1")).read_token
        calls: list[tuple[Callable[..., Awaitable[object]], object]] = [
            (cache.LookupRows, cache_pb2.LookupRowsRequest(namespace="books", ids=[row_id])),
            (
                cache.BackfillRows,
                cache_pb2.BackfillRowsRequest(
                    namespace="books", ids=[row_id], bodies=[BODY], read_token=token
                ),
            ),
            (
                cache.FenceRows,
                cache_pb2.FenceRowsRequest(
                    session_id=session,
                    namespace="books",
                    fence_id=b"f",
                    ids=[b"u1", row_id],
                    ttl_ms=1000,
                ),
            ),
            (
                cache.SettleRows,
                cache_pb2.SettleRowsRequest(namespace="books", fence_id=b"f", lift_ids=[row_id]),
            ),
            (
                cache.OpenSession,
                cache_pb2.OpenSessionRequest(
                    member_id="other", dirty_ids=[row_id], dirty_id_namespaces=["books"]
                ),
            ),
        ]
        for call, request in calls:
            with pytest.raises(LayerError, match="ids must have 1 to 256 bytes of UTF-8") as caught:
                await invoke(call, request, timeout_s=TIMEOUT_S)
            assert caught.value.reason == "ID_INVALID"
        assert list((await lookup(cache, b"u1")).bodies) == [BODY]


async def test_a_row_of_more_than_8_mib_is_left_out_and_the_others_are_stored(
    start: Start,
) -> None:
    async with start() as (cache, _):
        token = (await lookup(cache, b"u1", b"u2")).read_token
        huge = b'{"a":"' + b"x" * 8 * 1024 * 1024 + b'"}'
        answer = await cache.BackfillRows(
            cache_pb2.BackfillRowsRequest(
                namespace="books", read_token=token, ids=[b"u1", b"u2"], bodies=[huge, BODY]
            )
        )
        assert answer.stored_count == 1
        assert list((await lookup(cache, b"u1", b"u2")).hit_positions) == [1]
