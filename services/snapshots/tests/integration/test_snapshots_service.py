"""Two replicas as processes, over a real S3 API: what they take, answer and agree upon."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from layer.snapshots.v1 import snapshots_pb2
from layer_kit.errors import (
    AlreadyExistsError,
    InvalidRequestError,
    NotFoundError,
)
from layer_snapshots_testing.client import (
    TOOLS,
    TOOLS_SHA,
    WATERMARK_MS,
    SnapshotsClient,
)
from layer_snapshots_testing.gateway import RowsGateway, take
from layer_testing.edge_calls import eventually
from layer_testing.grpc_calls import is_serving, reflected_services
from layer_testing.s3 import S3Server

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

pytestmark = pytest.mark.asyncio(loop_scope="module")

SHORT = TOOLS_SHA[:7]


@contextmanager
def bucket_client(s3: S3Server) -> Iterator[S3Client]:
    client = boto3.session.Session().client(
        "s3",
        endpoint_url=s3.endpoint,
        region_name="us-east-1",
        aws_access_key_id=s3.access_key_id,
        aws_secret_access_key=s3.secret_access_key,
    )
    try:
        yield client
    finally:
        client.close()


def keys_of(s3: S3Server, bucket: str, prefix: str) -> list[str]:
    with bucket_client(s3) as client:
        listed = client.list_objects_v2(Bucket=bucket, Prefix=prefix)
    return [entry["Key"] for entry in listed.get("Contents", [])]


def body_at(s3: S3Server, bucket: str, key: str) -> Any:
    with bucket_client(s3) as client:
        return json.loads(client.get_object(Bucket=bucket, Key=key)["Body"].read())


async def test_it_is_healthy_and_reflection_lists_it(replicas: list[SnapshotsClient]) -> None:
    service = snapshots_pb2.DESCRIPTOR.services_by_name["SnapshotsService"].full_name
    assert await is_serving(replicas[0].channel, service)
    assert service in await reflected_services(replicas[0].channel)


async def test_replicas_that_race_write_the_worked_example_once(
    replicas: list[SnapshotsClient],
    gateway: RowsGateway,
    namespace: str,
    s3: S3Server,
    bucket: str,
) -> None:
    gateway.namespaces[namespace] = TOOLS
    await replicas[0].set_policy("tags", "kind", "rating")
    await asyncio.gather(*(client.advance() for client in replicas * 5))

    assert await replicas[0].newest(1) == [(WATERMARK_MS, SHORT)]
    assert await replicas[1].newest(1) == [(WATERMARK_MS, SHORT)]

    key = f"snapshots/{namespace}/1779999999500-377a8c3.json"
    assert keys_of(s3, bucket, f"snapshots/{namespace}/") == [key]
    stored = body_at(s3, bucket, key)
    assert (stored["namespace"], stored["sha"], stored["row_count"]) == (namespace, TOOLS_SHA, 5)
    assert len(gateway.requests) == 1
    assert list(gateway.requests[0].attribute_names) == ["kind", "rating", "tags"]
    assert gateway.requests[0].as_of_ms > WATERMARK_MS
    assert gateway.authorizations == ["Bearer a-key"]


async def test_a_snapshot_is_read_as_the_latest_and_by_either_hash(
    replicas: list[SnapshotsClient], gateway: RowsGateway
) -> None:
    client = replicas[0]
    await client.set_policy("tags", "kind", "rating")
    await take(client, gateway)

    latest = await client.snapshot()
    assert [await client.snapshot(sha) for sha in (TOOLS_SHA, SHORT)] == [latest, latest]
    assert (latest.sha, latest.row_count, latest.watermark_ms) == (TOOLS_SHA, 5, WATERMARK_MS)
    assert [field.name for field in latest.fields] == ["kind", "rating", "tags"]

    kinds = await client.snapshot(field_names=["kind"])
    assert [(one.value, one.row_count) for one in kinds.fields[0].values] == [
        ("drill", 1),
        ("râpe", 1),
        ("saw", 3),
    ]
    assert not (await client.snapshot(without_fields=True)).fields
    assert await client.count("rating", "5", "4", "3") == [3, 1, 0]

    with pytest.raises(NotFoundError) as refused:
        await client.count("colour", "red")
    assert refused.value.reason == "FIELD_NOT_FOUND"
    with pytest.raises(NotFoundError) as refused:
        await client.snapshot("0" * 64)
    assert refused.value.reason == "SNAPSHOT_NOT_FOUND"
    with pytest.raises(InvalidRequestError) as invalid:
        await client.snapshot("xyz")
    assert invalid.value.reason == "SHA_INVALID"


async def test_rows_that_are_as_before_write_nothing(
    replicas: list[SnapshotsClient], gateway: RowsGateway
) -> None:
    client = replicas[0]
    await client.set_policy("kind")
    await take(client, gateway)

    await client.advance(WATERMARK_MS + 60_000)
    await eventually(lambda: _when(len(gateway.requests) == 2))
    await take(client, gateway, TOOLS[:2], WATERMARK_MS + 120_000)

    assert [at for at, _ in await client.history()] == [WATERMARK_MS + 120_000, WATERMARK_MS]


async def test_another_replica_soon_answers_with_the_newer_snapshot(
    replicas: list[SnapshotsClient], gateway: RowsGateway
) -> None:
    one, other = replicas
    await one.set_policy("kind")
    await take(one, gateway)
    assert (await other.snapshot()).row_count == 5

    await take(one, gateway, TOOLS[:2], WATERMARK_MS + 1)

    async def is_news() -> bool | None:
        return (await other.snapshot()).row_count == 2 or None

    await eventually(is_news)


async def test_a_policy_is_kept_and_shown_as_it_was_set(
    replicas: list[SnapshotsClient], namespace: str, s3: S3Server, bucket: str
) -> None:
    one, other = replicas
    with pytest.raises(NotFoundError) as refused:
        await one.policy()
    assert refused.value.reason == "POLICY_NOT_FOUND"

    await one.set_policy("kind", "tags", interval="90s", retention="1h30m")

    found = await other.policy()
    assert list(found.facet_fields) == ["kind", "tags"]
    assert (found.interval_text, found.retention_text) == ("90s", "1h30m")
    assert body_at(s3, bucket, f"snapshot-policies/{namespace}.json") == {
        "facetFields": ["kind", "tags"],
        "interval": "90s",
        "retention": "1h30m",
    }
    with pytest.raises(InvalidRequestError) as invalid:
        await one.set_policy("kind", interval="soon")
    assert invalid.value.reason == "POLICY_INVALID"
    assert (await one.policy()).interval_text == "90s"


async def test_policies_are_listed_page_by_page(
    replicas: list[SnapshotsClient], namespace: str
) -> None:
    client = replicas[0]
    names = [f"{namespace}-{number}" for number in range(3)]
    for name in reversed(names):
        await SnapshotsClient(client.channel, name).set_policy("kind", interval="90s")

    first = await client.policies(page_size=2, page_token=f"{namespace}-")
    assert [one.namespace for one in first.policies] == names[:2]
    assert list(first.policies[0].policy.facet_fields) == ["kind"]
    assert first.policies[0].policy.interval_text == "90s"
    second = await client.policies(page_size=2, page_token=first.next_page_token)
    assert second.policies[0].namespace == names[2]
    everything = await client.policies(page_size=500)
    assert {one.namespace for one in everything.policies} >= set(names)
    assert everything.next_page_token == ""
    with pytest.raises(InvalidRequestError) as refused:
        await client.policies(page_token="not a name")
    assert refused.value.reason == "PAGE_TOKEN_INVALID"


async def test_a_policy_that_another_replica_was_told_is_kept_to(
    replicas: list[SnapshotsClient], gateway: RowsGateway, namespace: str
) -> None:
    one, other = replicas
    gateway.namespaces[namespace] = TOOLS
    await other.advance()
    await one.set_policy("kind")
    assert len(await other.newest(1)) == 1


async def test_checkpoints_name_the_latest_snapshot(
    replicas: list[SnapshotsClient], gateway: RowsGateway, namespace: str, s3: S3Server, bucket: str
) -> None:
    one, other = replicas
    with pytest.raises(NotFoundError) as refused:
        await one.checkpoint("v1")
    assert refused.value.reason == "SNAPSHOT_NOT_FOUND"

    await one.set_policy("kind", "rating", "tags")
    await take(one, gateway)
    made = await one.checkpoint("v1")
    assert (made.label, made.sha, made.watermark_ms, made.row_count) == (
        *("v1", TOOLS_SHA, WATERMARK_MS, 5),
    )
    assert await one.checkpoint("v1") == made

    await take(one, gateway, TOOLS[:2], WATERMARK_MS + 1)
    with pytest.raises(AlreadyExistsError):
        await one.checkpoint("v1")
    await one.checkpoint("v2")
    await one.checkpoint("v0")

    request = snapshots_pb2.ListCheckpointsRequest(namespace=namespace, page_size=2)
    page = await other.call(other.stub.ListCheckpoints, request)
    assert [one.label for one in page.checkpoints] == ["v0", "v2"]
    request.page_token = page.next_page_token
    rest = await other.call(other.stub.ListCheckpoints, request)
    assert list(rest.checkpoints) == [made]
    assert not rest.next_page_token

    listed = await other.call(
        other.stub.ListSnapshots, snapshots_pb2.ListSnapshotsRequest(namespace=namespace)
    )
    assert [list(one.checkpoint_labels) for one in listed.snapshots] == [["v0", "v2"], ["v1"]]
    assert body_at(s3, bucket, f"checkpoints/{namespace}/v1.json")["sha"] == TOOLS_SHA


async def test_two_snapshots_are_compared_by_hash_or_checkpoint(
    replicas: list[SnapshotsClient], gateway: RowsGateway, namespace: str
) -> None:
    client = replicas[0]
    await client.set_policy("kind", "rating", "tags")
    await take(client, gateway)
    await client.checkpoint("before")
    later = [*TOOLS[1:], {"id": "t-6", "kind": "axe", "rating": 5}]
    await take(client, gateway, later, WATERMARK_MS + 1)

    newer = (await client.history())[0][1]
    request = snapshots_pb2.DiffSnapshotsRequest(
        namespace=namespace,
        old=snapshots_pb2.SnapshotReference(checkpoint_label="before"),
        new=snapshots_pb2.SnapshotReference(sha=newer),
    )
    found = await client.call(client.stub.DiffSnapshots, request)

    assert (found.old_sha, found.row_count_change) == (TOOLS_SHA, 0)
    changes = {
        field.name: [(one.value, one.old_row_count, one.new_row_count) for one in field.changes]
        for field in found.fields
    }
    assert changes == {
        "kind": [("axe", 0, 1), ("saw", 3, 2)],
        "tags": [("hand", 2, 1), ("wood", 2, 1)],
    }


async def test_retention_keeps_the_latest_and_what_has_a_checkpoint(
    replicas: list[SnapshotsClient], gateway: RowsGateway
) -> None:
    client = replicas[0]
    await client.set_policy("kind")
    await take(client, gateway, TOOLS[:1], 1_000)
    await client.checkpoint("first")
    await take(client, gateway, TOOLS[:2], 2_000)
    await take(client, gateway, TOOLS[:3], 3_000)
    await client.set_policy("kind", retention="1h")
    gateway.namespaces[client.namespace] = TOOLS[:4]
    await client.advance(4_000)

    async def pruned() -> list[tuple[int, str]] | None:
        found = await client.history()
        return found if [at for at, _ in found] == [4_000, 1_000] else None

    await eventually(pruned)


async def test_activity_shows_the_newest_of_all_namespaces(
    replicas: list[SnapshotsClient], gateway: RowsGateway, namespace: str
) -> None:
    client = replicas[0]
    names = [f"{namespace}-{letter}" for letter in "abc"]
    for at, name in enumerate(names):
        client.namespace = name
        await client.set_policy("kind")
        await take(client, gateway, TOOLS, 9_000_000_000_000 + (at // 2))

    seen, token = [], ""
    while True:
        request = snapshots_pb2.ListSnapshotActivityRequest(
            page_size=2, page_token=token, since_ms=9_000_000_000_000
        )
        page = await client.call(client.stub.ListSnapshotActivity, request)
        seen += [(one.namespace, one.watermark_ms - 9_000_000_000_000) for one in page.snapshots]
        token = page.next_page_token
        if not token:
            break
    assert seen == [(names[2], 1), (names[0], 0), (names[1], 0)]

    only = snapshots_pb2.ListSnapshotActivityRequest(namespace=names[1])
    [event] = (await client.call(client.stub.ListSnapshotActivity, only)).snapshots
    assert event.namespace == names[1]


async def test_a_purged_namespace_has_nothing_but_its_policy(
    replicas: list[SnapshotsClient], gateway: RowsGateway, namespace: str, s3: S3Server, bucket: str
) -> None:
    client = replicas[0]
    await client.set_policy("kind")
    await take(client, gateway)
    await client.checkpoint("v1")
    await client.ended_job((await client.start_job("rating")).job_id)

    request = snapshots_pb2.DeleteNamespaceSnapshotsRequest(namespace=namespace)
    gone = await client.call(client.stub.DeleteNamespaceSnapshots, request)

    assert gone.deleted_object_count == 3
    with pytest.raises(NotFoundError):
        await client.snapshot()
    left = [key for key in keys_of(s3, bucket, "") if namespace in key]
    assert left == [f"snapshot-policies/{namespace}.json"]
    assert await client.call(client.stub.DeleteNamespaceSnapshots, request) is not None


async def _when(condition: bool) -> bool | None:  # noqa: FBT001 -- what `eventually` takes
    return condition or None
