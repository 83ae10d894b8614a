"""Blobs at the edge: bytes kept by their hash, in a folder and in S3."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from layer_testing.edge_calls import EdgeAnswer, EdgeCaller
from layer_testing.gateway_calls import KEY, gateway_over
from layer_testing.s3 import S3Server, s3_server
from layer_testing.scripted_store import ScriptedStore

pytestmark = pytest.mark.asyncio(loop_scope="module")

BLOBS = "/v1/namespaces/n/blobs"
MIB = 1024 * 1024
STORE_URL = "http://127.0.0.1:9"
"""No blob is any business of the vector store."""


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def assert_refused(answer: EdgeAnswer, status: int, reason: str) -> None:
    assert (answer.status, answer.json["reason"]) == (status, reason), answer.body


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    with s3_server() as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["folder", "s3"])
async def blobs(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, s3: S3Server
) -> AsyncIterator[EdgeCaller]:
    if request.param == "folder":
        place = {"LAYER_GATEWAY_OBJECTS_DIRECTORY": str(tmp_path_factory.mktemp("objects"))}
    else:
        place = bucket_of(s3)
    async with gateway_over(STORE_URL, **place) as process:
        yield EdgeCaller(process.addresses["http"], key=KEY)


def bucket_of(s3: S3Server) -> dict[str, str]:
    return {
        "S3_BUCKET": s3.new_bucket(),
        "S3_ENDPOINT": s3.endpoint,
        "AWS_ACCESS_KEY_ID": s3.access_key_id or "",
        "AWS_SECRET_ACCESS_KEY": s3.secret_access_key or "",
    }


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"\xff\xd8\xff\xe0 a photograph", "image/jpeg"),
        (b"\x89PNG\r\n\x1a\n a drawing", "image/png"),
        (b"GIF89a, moving", "image/gif"),
        (b"RIFF\x24\n\0\0WEBPVP8 ", "image/webp"),
        (b"RIFF\x24\0\0\0WAVEfmt ", "application/octet-stream"),
        (b"<script>alert(1)</script>", "application/octet-stream"),
        (b"\0", "application/octet-stream"),
    ],
)
async def test_a_blob_comes_back_under_its_hash(
    blobs: EdgeCaller, body: bytes, content_type: str
) -> None:
    put = await blobs("PUT", f"{BLOBS}?warm=true", body, {"content-type": "image/tiff"})
    digest = sha256(body)
    assert put.status == 200
    assert put.json == {"ref": f"blob://n/{digest}", "sha256": digest, "size": len(body)}
    got = await blobs("GET", f"{BLOBS}/{digest}")
    assert (got.status, got.body) == (200, body)
    assert got["content-type"] == content_type
    assert got["cache-control"] == "public, max-age=31536000, immutable"
    assert got["etag"] == f'"{digest}"'
    assert got["x-content-type-options"] == "nosniff"
    head = await blobs("HEAD", f"{BLOBS}/{digest}")
    assert (head.status, head.body) == (200, b"")
    for name in ("content-type", "cache-control", "etag", "content-length"):
        assert head[name] == got[name]


async def test_the_same_bytes_may_be_put_again(blobs: EdgeCaller) -> None:
    first = await blobs("PUT", BLOBS, b"once")
    assert (await blobs("PUT", BLOBS, b"once")).json == first.json
    assert (
        (await blobs("PUT", "/v1/namespaces/m/blobs", b"once")).json["ref"].startswith("blob://m/")
    )


@pytest.mark.parametrize("tags", ['"{}"', 'W/"{}"', '"other", "{}"', "*"])
async def test_a_caller_who_has_it_is_not_sent_it_again(blobs: EdgeCaller, tags: str) -> None:
    await blobs("PUT", BLOBS, b"known")
    digest = sha256(b"known")
    known = await blobs("GET", f"{BLOBS}/{digest}", b"", {"if-none-match": tags.format(digest)})
    assert (known.status, known.body) == (304, b"")
    assert known["etag"] == f'"{digest}"'
    other = await blobs("GET", f"{BLOBS}/{digest}", b"", {"if-none-match": '"other"'})
    assert (other.status, other.body) == (200, b"known")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_blob_that_is_not_there_is_a_404(blobs: EdgeCaller, method: str) -> None:
    await blobs("PUT", BLOBS, b"of n alone")
    for target in (f"{BLOBS}/{'0' * 64}", f"/v1/namespaces/m/blobs/{sha256(b'of n alone')}"):
        answer = await blobs(method, target, b"", {"if-none-match": "*"})
        assert answer.status == 404
    answer = await blobs("GET", f"{BLOBS}/{'0' * 64}")
    assert_refused(answer, 404, "BLOB_NOT_FOUND")
    assert answer.json["error"] == "not_found"


@pytest.mark.parametrize("name", ["0" * 63, "0" * 65, "G" * 64, sha256(b"").upper(), "%2e%2e"])
async def test_a_name_that_is_no_hash_is_a_422(blobs: EdgeCaller, name: str) -> None:
    assert_refused(await blobs("GET", f"{BLOBS}/{name}"), 422, "SHA256_INVALID")


async def test_a_blob_has_at_most_ten_mebibytes(blobs: EdgeCaller) -> None:
    largest = bytes(10 * MIB)
    assert (await blobs("PUT", BLOBS, largest)).json["size"] == 10 * MIB
    assert (await blobs("GET", f"{BLOBS}/{sha256(largest)}")).body == largest
    assert_refused(await blobs("PUT", BLOBS, largest + b"\0"), 413, "BODY_TOO_LARGE")
    chunked = blobs.request("PUT", BLOBS, b"", {"transfer-encoding": "chunked"})
    one_more = b"%x\r\n%s\r\n0\r\n\r\n" % (10 * MIB + 1, largest + b"\0")
    assert_refused(await blobs.send(chunked + one_more), 413, "BODY_TOO_LARGE")


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        (BLOBS, "BLOB_EMPTY"),
        (f"{BLOBS}?warm=yes", "WARM_INVALID"),
        (f"{BLOBS}?warm=", "WARM_INVALID"),
        ("/v1/namespaces/a%20b/blobs", "NAMESPACE_INVALID"),
    ],
)
async def test_a_bad_put_is_a_422(blobs: EdgeCaller, target: str, reason: str) -> None:
    assert_refused(await blobs("PUT", target, b""), 422, reason)


async def test_without_an_object_store_blobs_are_a_503_that_no_retry_mends(
    edge: EdgeCaller, store: ScriptedStore
) -> None:
    for method, target in (("PUT", BLOBS), ("GET", f"{BLOBS}/{'0' * 64}")):
        answer = await edge(method, target, b"x")
        assert_refused(answer, 503, "NO_OBJECT_STORE")
        assert answer.json["error"] == "service_unavailable"
        assert answer["x-should-retry"] == "false"
    assert store.requests == []


async def test_an_object_store_that_fails_is_a_502() -> None:
    away = {
        "S3_BUCKET": "any",
        "S3_ENDPOINT": "http://127.0.0.1:9",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }
    async with gateway_over(STORE_URL, **away) as process:
        edge = EdgeCaller(process.addresses["http"], key=KEY)
        for method, target in (("PUT", BLOBS), ("GET", f"{BLOBS}/{'0' * 64}")):
            answer = await edge(method, target, b"x")
            assert_refused(answer, 502, "OBJECT_STORE_FAILED")
            assert answer.json["error"] == "upstream_error"
