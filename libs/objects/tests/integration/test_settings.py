"""From a service's settings to its object store."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest
from prometheus_client import CollectorRegistry

from layer_kit.configuration import ConfigurationError
from layer_kit.settings import ServiceSettings, load_settings
from layer_objects import ObjectStore, ObjectStoreSettings
from layer_testing.s3 import S3Server


class KeepingSettings(ObjectStoreSettings, ServiceSettings):
    service: ClassVar[str] = "keeping"


def opened(**environment: str) -> ObjectStore | None:
    return load_settings(KeepingSettings, environment).open_objects(CollectorRegistry())


@pytest.mark.parametrize("environment", [{}, {"S3_BUCKET": "", "S3_REGION": "eu-west-1"}])
def test_a_service_that_is_told_of_no_store_has_none(environment: dict[str, str]) -> None:
    assert opened(**environment) is None


async def test_a_folder_keeps_objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = opened(LAYER_KEEPING_OBJECTS_DIRECTORY="o b#j")
    assert store is not None
    await store.put("a/b", b"1")
    await store.aclose()
    assert (tmp_path / "o b#j").is_dir()


async def test_a_bucket_wins_over_a_folder(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3.access_key_id or "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3.secret_access_key or "test")
    folder = tmp_path / "objects"
    store = opened(
        LAYER_KEEPING_OBJECTS_DIRECTORY=str(folder),
        S3_BUCKET=s3.new_bucket(),
        S3_ENDPOINT=s3.endpoint,
    )
    assert store is not None
    await store.put("a/b", b"1")
    found = await store.get("a/b")
    await store.aclose()
    assert found is not None
    assert found.body == b"1"
    assert not folder.exists()


def test_a_folder_that_cannot_be_made_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigurationError, match="file"):
        opened(LAYER_KEEPING_OBJECTS_DIRECTORY=str(tmp_path / "file" / "objects"))
