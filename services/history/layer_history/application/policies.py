"""Policies of namespaces: kept in the object store, remembered here, and applied.

Taking events in must not wait for the object store, so every policy is in memory, and in a file for
a start while the store is away. Where there is neither, nobody knows what may be kept, and nothing
is taken in. A policy that another replica was told is noticed at the next refresh.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import msgspec
import structlog

from layer_history.domain.names import POLICIES_FOLDER, namespace_of_policy, policy_key
from layer_history.domain.policy import Policy, Redactor, check_policy
from layer_kit.errors import InvalidRequestError
from layer_kit.names import Namespace
from layer_objects import ObjectStore

log = structlog.get_logger(__name__)

_encoder: Final = msgspec.json.Encoder()
REDACTORS_MAX: Final = 4_096

_policy: Final = msgspec.json.Decoder(Policy)
_policies: Final = msgspec.json.Decoder(dict[str, Policy])


@dataclass(slots=True, kw_only=True)
class Policies:
    """The policy of every namespace.

    Args:
        default: For namespaces without one.
        hash_key: Of redaction; the same on every replica, empty for none.
        save: Keeps a copy on the local disk.
    """

    objects: ObjectStore
    default: Policy
    hash_key: bytes
    save: Callable[[bytes], None]
    is_known: bool = False
    """Whether policies have been read, from the object store or from their copy."""
    _found: dict[str, Policy] = field(default_factory=dict)
    _etags: dict[str, str] = field(default_factory=dict)
    _redactors: dict[str, Redactor] = field(default_factory=dict)
    """By namespace, for those of late; made anew when any policy changes."""
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by whoever changes policies: a refresh must not undo what it did not see."""

    def get(self, namespace: Namespace) -> Policy:
        return self._found.get(namespace, self.default)

    def redactor(self, namespace: Namespace) -> Redactor:
        """Return what leaves out of searches what their namespace does not want kept."""
        redactor = self._redactors.get(namespace)
        if redactor is None:
            if len(self._redactors) >= REDACTORS_MAX:
                self._redactors.clear()
            redactor = Redactor(self.get(namespace), self.hash_key)
            self._redactors[namespace] = redactor
        return redactor

    async def update(self, namespace: Namespace, policy: Policy) -> Policy:
        """Set the policy of a namespace; what was purged stays so.

        Raises:
            InvalidRequestError: ``POLICY_INVALID``.
            PreconditionError: ``HASH_KEY_MISSING``.
            UpstreamError: The object store's own.
        """
        check_policy(policy, has_key=bool(self.hash_key))
        async with self._turn:
            policy = _purged(policy, self.get(namespace).purged_before_ns)
            await self._put(namespace, policy)
        return policy

    async def purge(self, namespace: Namespace, before_ns: int) -> None:
        """Go back to the default policy and have no event up to ``before_ns`` read any more."""
        async with self._turn:
            purged_ns = max(before_ns, self.get(namespace).purged_before_ns)
            await self._put(namespace, _purged(self.default, purged_ns))

    def restore(self, saved: bytes) -> None:
        """Begin with the copy on the local disk; one that is damaged counts for nothing."""
        try:
            self._found = _policies.decode(saved)
            self.is_known = True
        except msgspec.DecodeError:
            log.warning("policies_damaged")

    async def refresh(self) -> None:
        """Read every policy that has changed.

        Raises:
            UpstreamError: The object store's own; what is known stays.
        """
        async with self._turn:
            await self._refresh()

    async def _refresh(self) -> None:
        listed: dict[str, str] = {}
        after: str | None = ""
        while after is not None:
            page = await self.objects.list(f"{POLICIES_FOLDER}/", after=after)
            listed.update((info.key, info.etag) for info in page.objects)
            after = page.next_after
        changed = {key for key, etag in listed.items() if self._etags.get(key) != etag}
        gone = self._etags.keys() - listed.keys()
        for key in changed:
            found = await self.objects.get(key)
            if found is not None:
                self._remember(namespace_of_policy(key), found.body)
        for key in gone:
            self._found.pop(namespace_of_policy(key), None)
        self._etags = listed
        if changed or gone or not self.is_known:
            self._redactors.clear()
            self.save(_encoder.encode(self._found))
            self.is_known = True

    def _remember(self, namespace: str, body: bytes) -> None:
        try:
            policy = _policy.decode(body)
            check_policy(policy, has_key=True)  # without one, what is to be hashed is dropped
        except (msgspec.DecodeError, InvalidRequestError):
            # Written by hand, most likely. What was known is better than the default.
            log.warning("policy_malformed", namespace=namespace)
        else:
            self._found[namespace] = policy

    async def _put(self, namespace: Namespace, policy: Policy) -> None:
        info = await self.objects.put(
            policy_key(namespace), _encoder.encode(policy), content_type="application/json"
        )
        self._found[namespace] = policy
        self._etags[info.key] = info.etag
        self._redactors.pop(namespace, None)
        self.save(_encoder.encode(self._found))


def _purged(policy: Policy, purged_before_ns: int) -> Policy:
    return msgspec.structs.replace(policy, purged_before_ns=purged_before_ns)
