"""Writes: stamped, fenced, sent upstream once, then settled in the cache.

The order is the promise. Rows are fenced before upstream may change them and settled before the
caller hears of it, so no reader, through any gateway, can be served the old row afterwards. The
cache being away delays an acknowledgement by at most one lease and never refuses a write.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from layer_gateway.application.applied import applied, changed_ids
from layer_gateway.application.copying import check_sources
from layer_gateway.application.facts import (
    Facts,
    NamespaceFacts,
    attribute_types,
    embedded_attributes,
    unmirrored_attributes,
)
from layer_gateway.application.listings import Listings
from layer_gateway.application.refusals import is_refused
from layer_gateway.application.stamps import Stamps
from layer_gateway.application.watermarks import Watermarks
from layer_gateway.ports.rows import RowCache
from layer_gateway.ports.stores import Caller, Store, StoreAnswer
from layer_gateway.ports.triggers import WriteTriggers
from layer_kit.errors import InvalidRequestError, LayerError, UnsupportedError
from layer_kit.names import Namespace
from layer_kit.turns import in_turns
from layer_wire.ids import IdKind
from layer_wire.jsontext import Piece, Raw, RawObject, decode_object
from layer_wire.reserved import Author
from layer_wire.stamping import CacheRows, StampedWrite, stamp
from layer_wire.writes import WriteBody, decoding, not_null, unmarked

FENCED_IDS_MAX: Final = 200_000
"""A write of more rows drops its whole namespace from the cache instead: the ids of one message are
read in one go, which must not take as long as a lease lasts."""

REFUSED_SCHEMA: Final = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY})


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteRows:
    """Writes rows of a namespace, as docs/reference/http.md, "Writes" says."""

    store: Store
    cache: RowCache
    facts: Facts
    stamps: Stamps
    watermarks: Watermarks
    listings: Listings
    store_name: str
    triggers: WriteTriggers

    async def __call__(
        self,
        namespace: Namespace,
        body: bytes,
        caller: Caller,
        *,
        author: Author = Author.CLIENT,
    ) -> StoreAnswer:
        """Check, stamp and send a native write; return the store's own answer.

        Args:
            author: Who writes. What functions write may mark its rows and makes none due.

        Raises:
            InvalidRequestError: Naming the field; nothing was sent.
            UnsupportedError: ``TYPE_UNSUPPORTED``, when the store refused an attribute of type
                ``object``.
            UpstreamError: When the store cannot be reached, or was and did not answer.
        """
        write = await in_turns(decoding(body))
        answer = await self._write(namespace, write, body, caller, author=author)
        if answer.status == HTTPStatus.OK and author is not Author.FUNCTION:
            self.triggers.written(namespace, body, answer)
        if write is not None and answer.status in REFUSED_SCHEMA:
            objects = [name for name, type_ in _declared_types(write).items() if type_ == "object"]
            if objects:
                raise UnsupportedError(
                    "TYPE_UNSUPPORTED",
                    f"The store keeps no attribute of type object, which {objects[0]} is to be.",
                    store=self.store_name,
                    route="writeNamespace",
                )
        return answer

    async def _write(
        self,
        namespace: Namespace,
        write: WriteBody | None,
        body: bytes,
        caller: Caller,
        *,
        author: Author,
    ) -> StoreAnswer:
        if caller.namespaces:
            check_sources(body, caller.namespaces)
        if write is None or not write.has_row_operation:
            return await self._without_rows(namespace, body, caller)
        facts = await self.facts.get(namespace, caller)
        if not facts.exists:
            _check_metric(write)
            # What the cache holds is of one before, whose deletion may not be announced yet.
            await self.cache.invalidate(namespace)
        if write.is_by_filter and facts.sharding.marker is not None:
            write = unmarked(write)
        declared = _declared_types(write)
        id_kind = _id_kind(facts, declared)
        with self.stamps.writing(namespace) as stamp_ms:
            stamped = await in_turns(
                stamp(
                    write,
                    upserted_at_ms=stamp_ms,
                    shard_count=facts.sharding.shard_count,
                    id_kind=id_kind,
                    unmirrored=facts.unmirrored | unmirrored_attributes(declared),
                    author=author,
                )
            )
            if write.is_by_filter or len(stamped.ids) > FENCED_IDS_MAX:
                answer = await self._unfenced(namespace, write, stamped, id_kind, caller)
            else:
                answer = await self._fenced(namespace, write, stamped, id_kind, caller)
        if answer.status == HTTPStatus.OK:
            self.watermarks.written(namespace, caller)
            self.facts.stamped(namespace)
            if _is_remade(stamped, id_kind):
                # Whoever knows the old kind still would ask the cache for rows of before.
                self.facts.forget(namespace)
                await self.cache.invalidate(namespace)
        if not facts.exists:
            self.listings.forget()
        if not facts.exists or not declared.items() <= facts.types.items():
            self.facts.forget(namespace)
        return answer

    async def _fenced(
        self,
        namespace: Namespace,
        write: WriteBody,
        stamped: StampedWrite,
        id_kind: IdKind | None,
        caller: Caller,
    ) -> StoreAnswer:
        """Send a write whose ids are all known beforehand."""
        fence = await self.cache.fence(namespace, stamped.ids)
        try:
            answer = await self.store.write(namespace, stamped.body, caller)
        except LayerError:
            await self.cache.abandon(fence)
            raise
        if is_refused(answer):
            await self.cache.release(fence)
        elif answer.status != HTTPStatus.OK:
            await self.cache.abandon(fence)
        elif write.is_conditional:
            found = applied(stamped, answer, id_kind)
            puts, patches, lifted = found or (CacheRows(), CacheRows(), [])
            await self.cache.settle(
                fence,
                puts=puts,
                patches=patches,
                lifted=lifted,
                is_outcome_known=found is not None,
            )
        else:
            await self.cache.settle(fence, puts=stamped.puts, patches=stamped.patches, lifted=())
        return answer

    async def _unfenced(
        self,
        namespace: Namespace,
        write: WriteBody,
        stamped: StampedWrite,
        id_kind: IdKind | None,
        caller: Caller,
    ) -> StoreAnswer:
        """Send a write that says only afterwards which rows it changed."""
        answer = await self._write_unfenced(namespace, stamped.body, caller)
        if is_refused(answer):
            return answer
        changed = changed_ids(answer, id_kind) if answer.status == HTTPStatus.OK else None
        if changed is None or len(changed) + len(stamped.ids) > FENCED_IDS_MAX:
            await self.cache.invalidate(namespace)
        else:
            await self.cache.drop(
                namespace,
                [*changed, *stamped.ids],
                is_outcome_known=not write.is_conditional,
            )
        return answer

    async def _without_rows(self, namespace: Namespace, body: bytes, caller: Caller) -> StoreAnswer:
        """Send what carries no rows of its own: a schema, a copy, or something newer than us."""
        answer = await self._write_unfenced(namespace, [body], caller)
        if not is_refused(answer):
            self.facts.forget(namespace)
            self.listings.forget()  # a copy or a branch makes a namespace
            await self.cache.invalidate(namespace)
        return answer

    async def _write_unfenced(
        self, namespace: Namespace, body: Sequence[Piece], caller: Caller
    ) -> StoreAnswer:
        """Send a write; one whose fate is unknown may have changed any row."""
        try:
            return await self.store.write(namespace, body, caller)
        except LayerError:
            await self.cache.invalidate(namespace)
            raise


def _declared(write: WriteBody) -> RawObject:
    schema = write.rest.get("schema", Raw(b"null"))
    return decode_object(schema) if bytes(schema).startswith(b"{") else {}


def _declared_types(write: WriteBody) -> dict[str, str]:
    return attribute_types(_declared(write))


def _check_metric(write: WriteBody) -> None:
    """Refuse a first write of texts to be embedded that does not say how their vectors compare."""
    if not not_null(write.rest, "distance_metric") and (
        names := embedded_attributes(_declared(write))
    ):
        raise InvalidRequestError(
            "DISTANCE_METRIC_MISSING",
            f"distance_metric goes with the first write of {names[0]}, which is to be embedded.",
            field="distance_metric",
        )


def _id_kind(facts: NamespaceFacts, declared: dict[str, str]) -> IdKind | None:
    if facts.id_kind is None and declared.get("id") == "uuid":
        return IdKind.UUID
    return facts.id_kind


def _is_remade(stamped: StampedWrite, id_kind: IdKind | None) -> bool:
    """Tell whether the store took ids of another kind than those of the namespace that we know."""
    if id_kind is None or not stamped.ids:
        return False
    return not stamped.ids[0].startswith(id_kind.encode())
