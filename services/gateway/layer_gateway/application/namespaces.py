"""Namespaces: the store's own answers with what layer knows beside them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qs, urlencode

import msgspec

from layer_gateway.application.cache_states import CacheStates, shown
from layer_gateway.application.facts import Facts, attribute_types
from layer_gateway.application.layer_state import DescribeLayer
from layer_gateway.application.listings import (
    ListedNamespace,
    Listings,
    Metadata,
    NamespacePage,
)
from layer_gateway.application.purging import PurgeNamespace
from layer_gateway.application.refusals import retry_after_s
from layer_gateway.application.watermarks import Watermarks
from layer_gateway.domain.access import is_within
from layer_gateway.ports.labels import IndexLabels
from layer_gateway.ports.rows import RowCache
from layer_gateway.ports.stores import Caller, Store, StoreAnswer
from layer_kit.clock import EpochMilliseconds
from layer_kit.errors import InvalidRequestError, LayerError, NotFoundError, UpstreamError
from layer_kit.names import Namespace, parse_namespace
from layer_wire.federated import too_many_namespaces
from layer_wire.jsontext import Raw, RawObject, raw
from layer_wire.metadata import IndexStatus, index_status
from layer_wire.moments import epoch_ms
from layer_wire.rows import read_answer

METADATA_CONCURRENCY: Final = 16
LIST_PAGE_SIZE: Final = 1000


class _Listed(msgspec.Struct):
    id: str


class _ListAnswer(msgspec.Struct):
    namespaces: list[_Listed] = []
    next_cursor: str | None = None


class _Index(msgspec.Struct):
    status: str | None = None


_LIST: Final[msgspec.json.Decoder[_ListAnswer]] = msgspec.json.Decoder(_ListAnswer)
_METADATA: Final[msgspec.json.Decoder[Metadata]] = msgspec.json.Decoder(Metadata)
_INDEX: Final[msgspec.json.Decoder[_Index]] = msgspec.json.Decoder(_Index)
_OBJECT: Final[msgspec.json.Decoder[RawObject]] = msgspec.json.Decoder(RawObject)


@dataclass(frozen=True, slots=True, kw_only=True)
class Namespaces:
    """Lists, describes and deletes namespaces."""

    store: Store
    cache: RowCache
    facts: Facts
    watermarks: Watermarks
    describe_layer: DescribeLayer
    purge: PurgeNamespace
    states: CacheStates
    listings: Listings
    labels: IndexLabels
    now_ms: EpochMilliseconds

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
        _index_status(fields.get("index", Raw(b"{}")))  # found out here if it cannot be read
        if index_status(answer.body) is not IndexStatus.UNKNOWN:
            self.watermarks.seen(namespace, caller)
        layer = await self.describe_layer(namespace, facts, caller)
        row_count = read_answer(_METADATA, answer.body).approx_row_count
        layer = await self.describe_layer.covered(namespace, layer, facts, row_count)
        return {"id": raw(namespace), **fields, "layer": raw(layer)}

    async def list(self, query_string: str, caller: Caller) -> dict[str, object]:
        """Return a page of namespaces as the contract shows it; errors as for :meth:`page`.

        Raises:
            UpstreamError: ``LIST_FAILED``, also where the store refuses.
        """
        page = await self.page(query_string, caller)
        if not isinstance(page, NamespacePage):
            raise _list_failed(page)
        found: dict[str, object] = {"namespaces": [_entry(listed) for listed in page.namespaces]}
        if page.next_cursor:
            found["next_cursor"] = page.next_cursor
        return found

    async def page(self, query_string: str, caller: Caller) -> NamespacePage | StoreAnswer:
        """Return a page of namespaces with the metadata of each, or the store's refusal.

        A namespace whose metadata cannot be read is listed with ``metadata_error``.

        Raises:
            InvalidRequestError: ``PAGE_SIZE_RANGE``.
            UpstreamError: ``LIST_FAILED`` or ``UPSTREAM_UNREADABLE``.
        """
        _check_page_size(query_string)
        if (known := self.listings.get(query_string, caller)) is not None:
            return known
        generation = self.listings.generation
        answer = await self.store.list_namespaces(query_string, caller)
        if answer.status in range(400, 500):
            return answer
        if answer.status != HTTPStatus.OK:
            raise _list_failed(answer)
        page = read_answer(_LIST, answer.body)
        slots = asyncio.Semaphore(METADATA_CONCURRENCY)

        async def listed(name: str) -> ListedNamespace:
            async with slots:
                return await self._listed(name, caller)

        named = [entry.id for entry in page.namespaces if is_within(caller.namespaces, entry.id)]
        namespaces = await asyncio.gather(*(listed(name) for name in named))
        found = NamespacePage(namespaces=namespaces, next_cursor=page.next_cursor or None)
        self.listings.put(query_string, caller, found, generation=generation)
        return found

    async def names(self, caller: Caller, count_max: int) -> Sequence[Namespace] | StoreAnswer:
        """Return the name of every namespace, or the store's refusal to list them.

        Raises:
            InvalidRequestError: ``TOO_MANY_NAMESPACES`` when there are more than ``count_max``.
            UpstreamError: The store's own, or ``UPSTREAM_UNREADABLE``.
        """
        found: tuple[Namespace, ...] = ()
        place: dict[str, str] = {}
        while True:
            query_string = urlencode({"page_size": str(LIST_PAGE_SIZE), **place})
            answer = await self.store.list_namespaces(query_string, caller)
            if answer.status != HTTPStatus.OK:
                return answer
            page = read_answer(_LIST, answer.body)
            found += tuple(
                Namespace(entry.id)
                for entry in page.namespaces
                if is_within(caller.namespaces, entry.id)
            )
            if len(found) > count_max:
                raise too_many_namespaces(count_max)
            if not page.next_cursor:
                return found
            place = {"cursor": page.next_cursor}

    async def delete(self, namespace: Namespace, caller: Caller) -> int:
        """Delete a namespace upstream and everything near it; return how many objects went.

        Raises:
            UpstreamError: ``DELETE_FAILED``; or ``PURGE_FAILED``: the namespace is gone upstream
                then, and to delete it once more deletes the rest.
        """
        try:
            answer = await self.store.delete_namespace(namespace, caller)
        finally:
            # Whatever became of it: it may have been deleted, and its answer lost.
            self.facts.deleted(namespace)
            self.watermarks.forget(namespace)
            self.listings.forget()
            await self.cache.invalidate(namespace)
        if answer.status not in (HTTPStatus.OK, HTTPStatus.ACCEPTED, HTTPStatus.NOT_FOUND):
            raise UpstreamError(
                "DELETE_FAILED",
                f"The store answered the deletion of {namespace} with status {answer.status}.",
                namespace=namespace,
                status=answer.status,
            )
        return await self.purge(namespace)

    async def _listed(self, name: str, caller: Caller) -> ListedNamespace:
        asked_at_ms, labels = self.now_ms(), self.labels.of(Namespace(name))
        try:
            answer = await self.store.metadata(parse_namespace(name), caller)
            if answer.status != HTTPStatus.OK:
                return ListedNamespace(
                    name=name, labels=labels, metadata_error=f"status {answer.status}"
                )
            metadata = read_answer(_METADATA, answer.body)
            if index_status(answer.body) is not IndexStatus.UNKNOWN:
                self.watermarks.seen(parse_namespace(name), caller)
            _index_status(metadata.index)  # so that it is found out here if it cannot be read
        except LayerError as error:
            return ListedNamespace(name=name, labels=labels, metadata_error=error.message)
        return ListedNamespace(
            name=name,
            labels=labels,
            metadata=metadata,
            asked_at_ms=asked_at_ms,
            warmth=self.states.of(parse_namespace(name)),
        )


def _list_failed(answer: StoreAnswer) -> UpstreamError:
    return UpstreamError(
        "LIST_FAILED",
        f"The store answered a listing with status {answer.status}.",
        retry_after_s=retry_after_s(answer),
        status=answer.status,
    )


def _check_page_size(query_string: str) -> None:
    for value in parse_qs(query_string, keep_blank_values=True).get("page_size", ()):
        if not (value.isascii() and value.isdecimal() and 1 <= int(value[:9]) <= LIST_PAGE_SIZE):
            raise InvalidRequestError(
                "PAGE_SIZE_RANGE", f"page_size is 1 to {LIST_PAGE_SIZE}.", field="page_size"
            )


def _entry(listed: ListedNamespace) -> dict[str, object]:
    entry: dict[str, object] = {
        "name": listed.name,
        "shadow": listed.is_shadow,
        "labels": dict(listed.labels),
        "cache_state": shown(listed.warmth),
    }
    found = listed.metadata
    if found is None:
        return entry | {"metadata_error": listed.metadata_error}
    types = attribute_types(found.schema)
    entry["schema_summary"] = {"fields": sorted(types)} | _dimension(types)
    entry["index"] = found.index
    if found.approx_row_count is not None:
        entry["row_count"] = found.approx_row_count
    if found.approx_logical_bytes is not None:
        entry["size_bytes"] = found.approx_logical_bytes
    if (written_ms := epoch_ms(found.last_write_at or "")) is not None:
        entry["last_write_ms"] = written_ms
    match _index_status(found.index):
        case IndexStatus.UP_TO_DATE:
            # What this very request has shown, and not what the watermark allows for.
            entry |= {"is_stable": True, "stable_as_of_ms": listed.asked_at_ms}
        case IndexStatus.UPDATING:
            entry["is_stable"] = False
        case _:
            pass  # nothing is known, and nothing is said
    return entry


def _index_status(index: Raw) -> str | None:
    return read_answer(_INDEX, index).status


def _dimension(types: dict[str, str]) -> dict[str, int]:
    """Read the dimension out of a type such as ``[1536]f32``."""
    found = types.get("vector", "")
    digits = found[1 : found.find("]")] if found.startswith("[") else ""
    return {"vector_dim": int(digits)} if digits.isdecimal() else {}
