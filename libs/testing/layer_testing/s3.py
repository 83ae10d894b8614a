"""A real S3 API over HTTP: moto's server in this process, or one that the environment names."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import boto3
from botocore.config import Config
from moto.server import ThreadedMotoServer

ENDPOINT_VARIABLE: Final = "LAYER_TEST_S3_ENDPOINT"
"""URL of another server to test against; its keys come from the usual AWS variables."""

REGION: Final = "us-east-1"


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Server:
    """Where a server is; keys that are None are left to AWS's default chain."""

    endpoint: str
    access_key_id: str | None
    secret_access_key: str | None

    def new_bucket(self) -> str:
        """Create a bucket that no other test knows; return its name."""
        name = f"layer-test-{uuid.uuid4().hex}"
        client = boto3.session.Session().client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id=self.access_key_id,
            aws_secret_access_key=self.secret_access_key,
            config=Config(s3={"addressing_style": "path"}, connect_timeout=5, read_timeout=30),
        )
        client.create_bucket(Bucket=name)
        client.close()
        return name


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """Run, or find, an S3 server for as long as the block lasts."""
    if endpoint := os.environ.get(ENDPOINT_VARIABLE):
        yield S3Server(endpoint=endpoint, access_key_id=None, secret_access_key=None)
        return
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield S3Server(
            endpoint=f"http://{host}:{port}",
            access_key_id="test",
            secret_access_key="test",  # noqa: S106 -- moto takes any
        )
    finally:
        server.stop()
