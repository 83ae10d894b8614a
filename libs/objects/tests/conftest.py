"""The stores that must behave alike."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from layer_objects import ObjectStore, S3Settings, open_object_store
from layer_testing.s3 import REGION, S3Server, s3_server


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    with s3_server() as server:
        yield server


@pytest.fixture
def s3_settings(s3: S3Server) -> S3Settings:
    return S3Settings(
        endpoint=s3.endpoint,
        region=REGION,
        access_key_id=s3.access_key_id,
        secret_access_key=s3.secret_access_key,
    )


@pytest.fixture(params=["file", "s3", "s3-prefix"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ObjectStore]:
    if request.param == "file":
        url, settings = f"file://{tmp_path}/store", None
    else:
        bucket = request.getfixturevalue("s3").new_bucket()
        url = f"s3://{bucket}/some/prefix" if request.param == "s3-prefix" else f"s3://{bucket}"
        settings = request.getfixturevalue("s3_settings")
    opened = open_object_store(url, s3=settings)
    yield opened
    await opened.aclose()
