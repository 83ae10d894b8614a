"""Policies of namespaces: kept in the object store, remembered here.

A watermark that comes in must not wait for the object store, so every policy is in memory. One that
another replica was told is noticed at the next refresh; a refresh that fails changes nothing.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec
import structlog

from layer_kit.errors import InvalidRequestError, NotFoundError
from layer_kit.names import Namespace
from layer_objects import ObjectStore
from layer_snapshots.domain.keys import POLICIES, is_policy_key, namespace_of_policy, policy_key
from layer_snapshots.domain.policy import Policy, check_policy

log = structlog.get_logger(__name__)

_POLICY: Final[msgspec.json.Decoder[Policy]] = msgspec.json.Decoder(Policy)


@dataclass(slots=True, kw_only=True)
class Policies:
    """The policy of every namespace.

    Args:
        declared: Policies from outside, for namespaces that have no other.
    """

    objects: ObjectStore
    declared: Mapping[Namespace, Policy]
    _stored: dict[Namespace, Policy] = field(default_factory=dict)
    _etags: dict[str, str] = field(default_factory=dict)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by whoever changes policies: a refresh must not undo what it did not see."""

    def get(self, namespace: Namespace) -> Policy | None:
        """Return the policy as it is known here; None where there is none."""
        return self._stored.get(namespace) or self.declared.get(namespace)

    def with_retention(self) -> dict[Namespace, int]:
        """Return how long snapshots are kept, for namespaces where that is not for ever."""
        found = {**self.declared, **self._stored}
        spans = {namespace: policy.retention_ms for namespace, policy in found.items()}
        return {namespace: span for namespace, span in spans.items() if span is not None}

    def page(self, count: int, *, after: str) -> list[tuple[Namespace, Policy]]:
        """Return the policies of up to ``count`` namespaces past a name, by namespace."""
        found = {**self.declared, **self._stored}
        names = heapq.nsmallest(count, (namespace for namespace in found if namespace > after))
        return [(namespace, found[namespace]) for namespace in names]

    async def read(self, namespace: Namespace) -> Policy:
        """Return the policy as it is stored.

        Raises:
            NotFoundError: ``POLICY_NOT_FOUND``.
            UpstreamError: The object store's own.
        """
        async with self._turn:
            await self._load(namespace, policy_key(namespace))
        policy = self.get(namespace)
        if policy is None:
            raise NotFoundError(
                "POLICY_NOT_FOUND",
                f"Namespace {namespace} has no snapshot policy.",
                namespace=namespace,
            )
        return policy

    async def update(self, namespace: Namespace, policy: Policy) -> None:
        """Set the policy of a namespace.

        Raises:
            InvalidRequestError: ``POLICY_INVALID``.
            UpstreamError: The object store's own.
        """
        check_policy(policy)
        async with self._turn:
            info = await self.objects.put(
                policy_key(namespace), msgspec.json.encode(policy), content_type="application/json"
            )
            self._stored[namespace], self._etags[info.key] = policy, info.etag

    async def refresh(self) -> None:
        """Read every policy that has changed.

        Raises:
            UpstreamError: The object store's own; what is known stays.
        """
        async with self._turn:
            listed: dict[str, str] = {}
            after: str | None = ""
            while after is not None:
                page = await self.objects.list(f"{POLICIES}/", after=after)
                ours = [info for info in page.objects if is_policy_key(info.key)]
                listed.update((info.key, info.etag) for info in ours)
                after = page.next_after
            for key in listed.keys() | self._etags.keys():
                if self._etags.get(key) != listed.get(key):
                    await self._load(namespace_of_policy(key), key)

    async def _load(self, namespace: Namespace, key: str) -> None:
        found = await self.objects.get(key)
        if found is None:
            self._stored.pop(namespace, None)
            self._etags.pop(key, None)
            return
        self._etags[key] = found.info.etag
        try:
            policy = _POLICY.decode(found.body)
            check_policy(policy)
        except (msgspec.DecodeError, UnicodeDecodeError, InvalidRequestError) as error:
            # Written by hand, most likely. What was known is better than nothing.
            log.warning("policy_malformed", namespace=namespace, cause=str(error))
        else:
            self._stored[namespace] = policy
