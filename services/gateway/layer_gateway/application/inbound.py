"""Who may come in (docs/reference/http.md, "Authentication")."""

from __future__ import annotations

import functools
import hashlib
import hmac
import secrets
from typing import Final, NamedTuple

from layer_gateway.domain.access import EVERYTHING, Grant, Scope
from layer_gateway.domain.vectorstores import InboundMode, VectorStore
from layer_gateway.ports.access import KeyRing
from layer_kit.errors import KeyRefusedError, UnauthenticatedError

BEARER: Final = "bearer "
SENT_ON: Final = frozenset({b"authorization", b"user-agent", b"traceparent", b"tracestate"})
"""Caller's headers that go along with a request which layer builds itself."""

DIGEST_BYTES: Final = 16
CALLERS_REMEMBERED_MAX: Final = 256
REMEMBERED_CHARACTERS_MAX: Final = 512
"""Longer headers are worked out each time, so that what is remembered stays small."""

NOBODY: Final = Grant(name="anyone", scopes=EVERYTHING)


class Identity(NamedTuple):
    """A caller who was let in. A tuple, since one is made for every request."""

    grant: Grant
    digest: bytes
    """Stands for the bearer, also an unknown one, without telling it: a hash under a key that
    this process alone has. Empty where no bearer was sent."""


class InboundAuth:
    """Decides on the bearer of a request by the policy of a store.

    ``deriveFromStore``: the store's own key opens everything; a store that has none lets any
    bearer pass, which is then sent upstream. ``keys``: each key opens what its scopes say.
    ``open``: nothing is asked.

    Args:
        store: Whose policy it is.
        minted: Knows keys that are not in the manifest; asked after those that are.
    """

    def __init__(self, store: VectorStore, *, minted: KeyRing | None = None) -> None:
        self._mode = store.inbound.mode
        self._minted = minted
        self._hash_key = secrets.token_bytes(32)
        derived = Grant(name=f"store {store.name}", scopes=EVERYTHING)
        match self._mode:
            case InboundMode.KEYS:
                known = [
                    (key.token, Grant(name=key.name, scopes=key.scopes))
                    for key in store.inbound.keys
                ]
            case InboundMode.DERIVE_FROM_STORE:
                known = [(store.token, derived)] if store.token else []
            case InboundMode.OPEN:
                known = []
        self._known = [(self._digest(token), grant) for token, grant in known]
        self._lets_all_in = self._mode is not InboundMode.KEYS and not known
        # The headers of a few callers come over and over. One is found by a hash of all of it under
        # a key of this process, so that the time taken tells of no part of another's.
        self._remembered = functools.lru_cache(CALLERS_REMEMBERED_MAX)(self._recognised)

    async def identify(self, authorization: str | None, scope: Scope) -> Identity:
        """Recognise a caller by its ``authorization`` header and let it do what needs ``scope``.

        Raises:
            UnauthenticatedError: ``BEARER_MISSING``.
            KeyRefusedError: ``KEY_INVALID`` or ``SCOPE_MISSING``.
        """
        identity = self.identify_known(authorization, scope)
        if identity is not None:
            return identity
        offered = _offered(_bearer(authorization))
        grant = None if self._minted is None else await self._minted.find(offered)
        if grant is None:
            raise KeyRefusedError("KEY_INVALID", "invalid API key")
        return _allowed(Identity(grant, self._digest(offered)), scope)

    def identify_known(self, authorization: str | None, scope: Scope) -> Identity | None:
        """Do the same for the callers known here; None where the minted keys have to be asked.

        Raises:
            UnauthenticatedError: ``BEARER_MISSING``.
            KeyRefusedError: ``SCOPE_MISSING``.
        """
        if authorization is not None and len(authorization) <= REMEMBERED_CHARACTERS_MAX:
            return self._remembered(authorization, scope)
        return self._recognised(authorization, scope)

    def _recognised(self, authorization: str | None, scope: Scope) -> Identity | None:
        identity = self._find(authorization)
        return None if identity is None else _allowed(identity, scope)

    def _find(self, authorization: str | None) -> Identity | None:
        token = _bearer(authorization)
        if not token:
            if self._mode is InboundMode.OPEN:
                return Identity(NOBODY, b"")
            raise UnauthenticatedError(
                "BEARER_MISSING", "missing or malformed Authorization: Bearer header"
            )
        digest = self._digest(_offered(token))
        grant = NOBODY if self._lets_all_in else self._grant_of(digest)
        return None if grant is None else Identity(grant, digest)

    def _grant_of(self, digest: bytes) -> Grant | None:
        """Compare with every key, so that the time taken tells nothing of which it was."""
        found = None
        for known, grant in self._known:
            if hmac.compare_digest(known, digest):
                found = grant
        return found

    def _digest(self, token: bytes) -> bytes:
        return hashlib.blake2b(token, key=self._hash_key, digest_size=DIGEST_BYTES).digest()


def _offered(token: str) -> bytes:
    """Return a bearer's bytes; those that are no UTF-8 reach us as surrogates."""
    return token.encode(errors="surrogateescape")


def _allowed(identity: Identity, scope: Scope) -> Identity:
    if not identity.grant.allows(scope):
        raise KeyRefusedError(
            "SCOPE_MISSING", "insufficient API key scope", required_scope=scope.value
        )
    return identity


def _bearer(authorization: str | None) -> str:
    if authorization is None or authorization[: len(BEARER)].lower() != BEARER:
        return ""
    return authorization[len(BEARER) :].strip()
