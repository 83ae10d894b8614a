"""What the gateway remembers of a namespace, to read and write it rightly.

The kind of its ids decides how a path id is sent upstream, the types of its attributes which rows
the cache may mirror, and its marker row into how many shards rows are stamped. One schema request
and one marker request a namespace, shared by everyone who waits for them.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Final

import msgspec

from layer_gateway.application.sharding import Sharding, Shards
from layer_gateway.ports.stores import Caller, Store
from layer_kit.clock import Monotonic
from layer_kit.errors import UpstreamError
from layer_kit.names import Namespace
from layer_wire.ids import IdKind
from layer_wire.jsontext import ABSENT, Raw, RawObject, is_null
from layer_wire.reserved import SHARD, UPSERTED_AT
from layer_wire.rows import read_answer

NAMESPACES_REMEMBERED_MAX: Final = 100_000
REFRESHED_SHARE: Final = 0.5
"""From this share of their time on, facts in use are asked for anew in the background."""

REST_SHARE: Final = 0.1
"""How long to rest, of that time, after asking in vain."""

STAMP_TYPES: Final = {UPSERTED_AT: "int", SHARD: "int"}
_OBJECT: Final[msgspec.json.Decoder[RawObject]] = msgspec.json.Decoder(RawObject)
_VECTOR_TYPE: Final = re.compile(r"(\[\])?(\[\d+\]f|\{\})")
_FALSE: Final = Raw(b"false")
_SAME_BOTH_WAYS: Final = frozenset({"string", "int", "uint", "float", "bool"})


class _Typed(msgspec.Struct):
    type: str = ""
    filterable: bool | None = None
    full_text_search: Raw = ABSENT
    regex: bool | None = None
    glob: bool | None = None
    fuzzy: bool | None = None
    embed: Raw = ABSENT


_TYPE: Final[msgspec.json.Decoder[str | _Typed]] = msgspec.json.Decoder(str | _Typed)


@dataclass(frozen=True, slots=True, kw_only=True)
class NamespaceFacts:
    """A namespace as it was when last asked."""

    exists: bool
    id_kind: IdKind | None
    """None while the namespace does not exist: its first write decides."""
    types: Mapping[str, str]
    """The type of each attribute, as the store spells it."""
    unmirrored: frozenset[str]
    """Attributes that read back in another form than they are written in."""
    unfilterable: frozenset[str] = frozenset()
    """Attributes without an index for filters."""
    sharding: Sharding


class Facts:
    """Remembers facts for a while and asks for each namespace once at a time."""

    def __init__(self, store: Store, shards: Shards, *, ttl_s: float, monotonic: Monotonic) -> None:
        self._store = store
        self._shards = shards
        self._ttl_s = ttl_s
        self._refreshed_s = ttl_s * REFRESHED_SHARE
        self._monotonic = monotonic
        self._known: dict[Namespace, tuple[float, NamespaceFacts]] = {}
        self._asking: dict[Namespace, asyncio.Task[NamespaceFacts]] = {}
        self._rested: dict[Namespace, float] = {}
        """At which age to ask again after asking in vain: a store in trouble is not asked more."""

    async def get(
        self, namespace: Namespace, caller: Caller, *, age_s_max: float = math.inf
    ) -> NamespaceFacts:
        """Return the facts of a namespace; its absence is not remembered.

        Args:
            age_s_max: How old they may be at most; ``ttl_s`` if that is less.

        Raises:
            UpstreamError: ``SCHEMA_UNREADABLE`` or ``MARKER_UNREADABLE``, or the store's own.
        """
        if (known := self.known(namespace, caller, age_s_max=age_s_max)) is not None:
            return known
        if (earlier := self._asking.get(namespace)) is not None:
            facts = await asyncio.shield(earlier)
            if facts.exists:
                return facts
            # It was asked before this call, and the namespace may have been created in between.
        return await asyncio.shield(self._ask_once(namespace, caller))

    def known(
        self, namespace: Namespace, caller: Caller, *, age_s_max: float = math.inf
    ) -> NamespaceFacts | None:
        """Return what :meth:`get` would, where nobody has to wait for it; else None."""
        known = self._known.get(namespace)
        if known is None:
            return None
        asked_s, facts = known
        age_s = self._monotonic() - asked_s
        if age_s >= age_s_max:
            return None
        if age_s < self._refreshed_s:  # as is usual
            return facts
        if age_s >= self._ttl_s:
            return None
        if age_s > self._rested.get(namespace, 0.0):
            self._ask_once(namespace, caller)  # before anybody has to wait for it
        return facts

    def fresh(self, namespace: Namespace) -> NamespaceFacts | None:
        """Return facts that need not be asked for anew yet, if they are known."""
        known = self._known.get(namespace)
        if known is None or self._monotonic() - known[0] >= self._refreshed_s:
            return None
        return known[1]

    async def covering(
        self, namespace: Namespace, names: Collection[str], caller: Caller
    ) -> NamespaceFacts:
        """Return facts that know the type of every attribute in ``names``.

        Facts without one of them are older than the attribute, so they are asked for anew, once:
        the store need not have a type for what it computes.
        """
        facts = await self.get(namespace, caller)
        if all(name in facts.types for name in names):
            return facts
        self.forget(namespace)
        return await self.get(namespace, caller)

    def stamped(self, namespace: Namespace) -> None:
        """Know that rows have stamps now: a write has brought them.

        Where it has not after all, the store refuses a filter on them, and is asked again.
        """
        known = self._known.get(namespace)
        if known is not None and UPSERTED_AT not in known[1].types:
            types = {**known[1].types, **STAMP_TYPES}
            self._known[namespace] = (known[0], replace(known[1], types=types))

    def forget(self, namespace: Namespace) -> None:
        """Ask again next time: the namespace was created, deleted or given another schema."""
        self._known.pop(namespace, None)
        self._rested.pop(namespace, None)
        self._asking.pop(namespace, None)

    def deleted(self, namespace: Namespace) -> None:
        """Forget all of a namespace that was deleted."""
        self._shards.forget(namespace)
        self.forget(namespace)

    def _ask_once(self, namespace: Namespace, caller: Caller) -> asyncio.Task[NamespaceFacts]:
        asking = self._asking.get(namespace)
        # One that is done was asked before this call, even if that has not been noted yet.
        if asking is None or asking.done():
            asking = asyncio.create_task(self._ask(namespace, caller))
            self._asking[namespace] = asking
            asked_s = self._monotonic()
            asking.add_done_callback(lambda task: self._answered(namespace, task, asked_s))
        return asking

    def _answered(
        self, namespace: Namespace, task: asyncio.Task[NamespaceFacts], asked_s: float
    ) -> None:
        if self._asking.get(namespace) is not task:
            return  # forgotten meanwhile: what it learnt may be out of date
        del self._asking[namespace]
        if task.cancelled() or task.exception() is not None or not task.result().exists:
            # Another gateway may create it at any moment; one that is known is asked for later.
            if (known := self._known.get(namespace)) is not None:
                self._rested[namespace] = asked_s - known[0] + self._ttl_s * REST_SHARE
            return
        if len(self._known) >= NAMESPACES_REMEMBERED_MAX:
            oldest = next(iter(self._known))
            del self._known[oldest]
            self._rested.pop(oldest, None)
        self._known[namespace] = (asked_s, task.result())
        self._rested.pop(namespace, None)

    async def _ask(self, namespace: Namespace, caller: Caller) -> NamespaceFacts:
        answer = await self._store.schema(namespace, caller)
        if answer.status == HTTPStatus.NOT_FOUND:
            return NamespaceFacts(
                exists=False,
                id_kind=None,
                types={},
                unmirrored=frozenset(),
                sharding=self._shards.unsharded,
            )
        if answer.status != HTTPStatus.OK:
            raise UpstreamError(
                "SCHEMA_UNREADABLE",
                f"The schema of {namespace} could not be read upstream: status {answer.status}.",
                namespace=namespace,
                status=answer.status,
            )
        schema = bare_schema(read_answer(_OBJECT, answer.body))
        types = attribute_types(schema)
        id_kind = _id_kind(types.get("id", "string"))
        return NamespaceFacts(
            exists=True,
            id_kind=id_kind,
            types=types,
            unmirrored=unmirrored_attributes(types),
            unfilterable=frozenset(
                name for name, value in schema.items() if _is_unfilterable(value)
            ),
            # The marker's id is a string: where ids are numbers or UUIDs it cannot be there.
            sharding=await self._shards.of(namespace, types, caller)
            if id_kind is IdKind.STRING
            else self._shards.unsharded,
        )


def bare_schema(schema: RawObject) -> RawObject:
    """Return the attributes of a schema, also of one that comes wrapped in ``schema``."""
    if schema.keys() != {"schema"} or _type(schema["schema"]):
        return schema
    return read_answer(_OBJECT, schema["schema"])


def attribute_types(schema: RawObject) -> dict[str, str]:
    """Return the type of each attribute of a schema: bare strings or objects with ``type``."""
    return {name: _type(value) for name, value in schema.items()}


def unmirrored_attributes(types: dict[str, str]) -> frozenset[str]:
    """Return the attributes whose values upstream may spell differently than the writer did."""
    return frozenset(
        name
        for name, type_ in types.items()
        if name != "id" and type_.removeprefix("[]") not in _SAME_BOTH_WAYS
    )


def embedded_attributes(schema: RawObject) -> list[str]:
    """Return the attributes from which the store is to make vectors by itself."""
    return [name for name, value in schema.items() if not is_null(_typed(value).embed)]


def _type(value: Raw) -> str:
    """Return the type out of a string or an object; empty for what upstream will refuse."""
    return _typed(value).type


def _is_unfilterable(value: Raw) -> bool:
    """Tell whether an attribute has no index for filters, by the store's rules of default."""
    found = _typed(value)
    if _VECTOR_TYPE.match(found.type):
        return True
    if found.filterable is not None:
        return not found.filterable
    is_searched = found.full_text_search not in (ABSENT, _FALSE)
    return bool(is_searched or found.regex or found.glob or found.fuzzy)


def _typed(value: Raw) -> _Typed:
    try:
        found = _TYPE.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _Typed()
    return _Typed(type=found) if isinstance(found, str) else found


def _id_kind(type_: str) -> IdKind:
    match type_:
        case "uint" | "int":
            return IdKind.UNSIGNED
        case "uuid":
            return IdKind.UUID
        case _:
            return IdKind.STRING
