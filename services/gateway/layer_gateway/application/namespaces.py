"""Namespaces: the store's own answers with what layer knows beside them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import msgspec

from layer_gateway.application.facts import Facts, attribute_types
from layer_gateway.ports import Caller, RowCache, Store, StoreAnswer
from layer_kit.errors import LayerError, NotFoundError, UpstreamError
from layer_kit.names import Namespace, parse_namespace
from layer_wire.jsontext import Raw, RawObject, raw
from layer_wire.rows import read_answer

METADATA_CONCURRENCY: Final = 16
SHADOW_SUFFIX: Final = "-shadow"
NO_LAYER_STATE: Final = (
    "stable_as_of",
    "indexed",
    "index_lag_rows",
    "schema_version",
    "init_state",
    "init_lag_rows",
    "shard_state",
    "shard_lag_rows",
)
"""Keys of the ``layer`` block that are always sent and that nothing has been learnt for yet."""


class _Listed(msgspec.Struct):
    id: str


class _ListAnswer(msgspec.Struct):
    namespaces: list[_Listed] = []
    next_cursor: str | None = None


class _Index(msgspec.Struct):
    status: str | None = None


class _Metadata(msgspec.Struct):
    schema: RawObject = {}
    approx_row_count: int | None = None
    approx_logical_bytes: int | None = None
    last_write_at: str | None = None
    index: Raw = Raw(b"{}")


_LIST: Final[msgspec.json.Decoder[_ListAnswer]] = msgspec.json.Decoder(_ListAnswer)
_METADATA: Final[msgspec.json.Decoder[_Metadata]] = msgspec.json.Decoder(_Metadata)
_INDEX: Final[msgspec.json.Decoder[_Index]] = msgspec.json.Decoder(_Index)
_OBJECT: Final[msgspec.json.Decoder[RawObject]] = msgspec.json.Decoder(RawObject)


@dataclass(frozen=True, slots=True, kw_only=True)
class Namespaces:
    """Lists, describes and deletes namespaces."""

    store: Store
    cache: RowCache
    facts: Facts

    async def describe(self, namespace: Namespace, caller: Caller) -> RawObject | StoreAnswer:
        """Return the store's metadata with ``id`` and ``layer``, or its refusal.

        Raises:
            NotFoundError: ``NAMESPACE_NOT_FOUND``.
        """
        answer = await self.store.metadata(namespace, caller)
        if answer.status == HTTPStatus.NOT_FOUND:
            raise NotFoundError(
                "NAMESPACE_NOT_FOUND",
                f"Namespace {namespace} does not exist.",
                namespace=namespace,
            )
        if answer.status != HTTPStatus.OK:
            return answer
        fields = read_answer(_OBJECT, answer.body)
        facts = await self.facts.get(namespace, caller)
        is_stable = _index_status(fields.get("index", Raw(b"{}"))) == "up-to-date"
        layer = dict.fromkeys(NO_LAYER_STATE) | {
            "is_stable": is_stable,
            "shard_count": facts.shard_count,
            "scatter_gather_active": False,
        }
        return {"id": raw(namespace), **fields, "layer": raw(layer)}

    async def list(self, query_string: str, caller: Caller) -> dict[str, object] | StoreAnswer:
        """Return a page of namespaces with the metadata of each, or the store's refusal.

        A namespace whose metadata cannot be read is listed with ``metadata_error``.
        """
        answer = await self.store.list_namespaces(query_string, caller)
        if answer.status in range(400, 500):
            return answer
        if answer.status != HTTPStatus.OK:
            raise UpstreamError(
                "LIST_FAILED",
                f"The store answered a listing with status {answer.status}.",
                status=answer.status,
            )
        page = read_answer(_LIST, answer.body)
        slots = asyncio.Semaphore(METADATA_CONCURRENCY)

        async def entry(name: str) -> dict[str, object]:
            async with slots:
                return await self._entry(name, caller)

        entries = await asyncio.gather(*(entry(listed.id) for listed in page.namespaces))
        found: dict[str, object] = {"namespaces": entries}
        if page.next_cursor:
            found["next_cursor"] = page.next_cursor
        return found

    async def delete(self, namespace: Namespace, caller: Caller) -> bool:
        """Delete a namespace upstream and everything near it; tell whether it existed.

        Raises:
            UpstreamError: ``DELETE_FAILED``.
        """
        answer = await self.store.delete_namespace(namespace, caller)
        if answer.status not in (HTTPStatus.OK, HTTPStatus.ACCEPTED, HTTPStatus.NOT_FOUND):
            raise UpstreamError(
                "DELETE_FAILED",
                f"The store answered the deletion of {namespace} with status {answer.status}.",
                namespace=namespace,
                status=answer.status,
            )
        self.facts.forget(namespace)
        await self.cache.invalidate(namespace)
        return answer.status != HTTPStatus.NOT_FOUND

    async def _entry(self, name: str, caller: Caller) -> dict[str, object]:
        entry: dict[str, object] = {
            "name": name,
            "shadow": name.endswith(SHADOW_SUFFIX),
            "labels": {},
            "cache_state": {"state": "cold", "warm_inflight": False},
        }
        try:
            answer = await self.store.metadata(parse_namespace(name), caller)
        except LayerError as error:
            return entry | {"metadata_error": error.message}
        if answer.status != HTTPStatus.OK:
            return entry | {"metadata_error": f"status {answer.status}"}
        found = read_answer(_METADATA, answer.body)
        types = attribute_types(found.schema)
        entry["schema_summary"] = {"fields": sorted(types)} | _dimension(types)
        entry["index"] = found.index
        if found.approx_row_count is not None:
            entry["row_count"] = found.approx_row_count
        if found.approx_logical_bytes is not None:
            entry["size_bytes"] = found.approx_logical_bytes
        if (status := _index_status(found.index)) is not None:
            entry["is_stable"] = status == "up-to-date"
        return entry


def _index_status(index: Raw) -> str | None:
    return _INDEX.decode(index).status


def _dimension(types: dict[str, str]) -> dict[str, int]:
    """Read the dimension out of a type such as ``[1536]f32``."""
    found = types.get("vector", "")
    digits = found[1 : found.find("]")] if found.startswith("[") else ""
    return {"vector_dim": int(digits)} if digits.isdecimal() else {}
