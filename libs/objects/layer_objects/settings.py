"""Settings of a service that keeps objects: which store, and how to reach it."""

from __future__ import annotations

from pathlib import Path

from prometheus_client import CollectorRegistry
from pydantic import BaseModel, Field

from layer_kit.settings import contract_name
from layer_objects.opening import S3Settings, open_object_store
from layer_objects.port import ObjectStore


class ObjectStoreSettings(BaseModel):
    """Beside ``ServiceSettings``, in a service's own class."""

    objects_directory: str = Field(
        "",
        description="Folder for objects where there is no S3; replicas may share it. Neither: "
        "what needs an object store is refused.",
    )
    s3_bucket: str = Field(
        "",
        validation_alias=contract_name("S3_BUCKET", field="s3_bucket"),
        description="Bucket for objects; wins over the folder. Its keys come from AWS's own "
        "variables, files or role.",
    )
    s3_region: str = Field(
        "us-east-1",
        validation_alias=contract_name("S3_REGION", field="s3_region"),
        description="Region of the bucket.",
    )
    s3_endpoint: str = Field(
        "",
        validation_alias=contract_name("S3_ENDPOINT", field="s3_endpoint"),
        description="URL of an S3 API that is not AWS, spoken to in path style.",
    )

    def open_objects(self, registry: CollectorRegistry) -> ObjectStore | None:
        """Open the store that was chosen; None where none was.

        Raises:
            ConfigurationError: When it cannot be used as it was described.
        """
        if self.s3_bucket:
            s3 = S3Settings(endpoint=self.s3_endpoint or None, region=self.s3_region or None)
            return open_object_store(f"s3://{self.s3_bucket}", s3=s3, registry=registry)
        if self.objects_directory:
            folder = Path(self.objects_directory).absolute()
            return open_object_store(folder.as_uri(), registry=registry)
        return None
