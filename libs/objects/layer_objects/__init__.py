"""Objects by key, in a folder or in S3, behind one port; the README tells what each promises."""

from __future__ import annotations

from layer_objects.opening import S3Settings, open_object_store
from layer_objects.port import Object, ObjectInfo, ObjectPage, ObjectStore
from layer_objects.settings import ObjectStoreSettings

__all__ = [
    "Object",
    "ObjectInfo",
    "ObjectPage",
    "ObjectStore",
    "ObjectStoreSettings",
    "S3Settings",
    "open_object_store",
]
