"""What a key may do, and what each request needs (docs/reference/http.md, "Authentication")."""

from __future__ import annotations

import functools
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import Enum
from typing import Final


class Scope(Enum):
    """A kind of request that a key may make."""

    __hash__ = object.__hash__  # the one of enumerations is worked out in Python

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


_ADMIN: Final = Scope.ADMIN


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """A key that was recognised."""

    name: str
    """For logs and people; never the key itself."""
    scopes: AbstractSet[Scope]

    def allows(self, scope: Scope) -> bool:
        """Tell whether a request that needs ``scope`` may pass; ``write`` holds no ``read``."""
        return scope in self.scopes or _ADMIN in self.scopes


EVERYTHING: Final = frozenset(Scope)

READING_METHODS: Final = frozenset({"GET", "HEAD"})
_READ_BY_POST: Final = frozenset(
    {
        "/v2/query",
        "/v2/agents/*/query",
        "/v1/namespaces/*/query",
        "/v2/namespaces/*/query",
        "/v2/namespaces/*/multi_query",
        "/v2/namespaces/*/explain_query",
        "/v2/namespaces/*/search",
        "/v2/namespaces/*/documents",
        "/v2/namespaces/*/scans",
        "/v2/metrics/*",  # query, query_range
        "/v2/metrics/*/v1/query",
        "/v2/metrics/*/v1/query_range",
    }
)
"""What only reads though it is sent as a POST; ``*`` stands for the fourth segment."""

_ADMINISTERING: Final = frozenset({"pause", "resume", "reset-failed", "discover"})


@functools.lru_cache(maxsize=4096)
def required_scope(method: str, path: str) -> Scope:
    """Return what a key must hold for a request, whether or not there is such a route.

    A path is judged by its segments, as routes are: a namespace that is called ``query`` is
    written with ``write``.
    """
    parts = path.split("/")
    if parts[1:3] == ["v2", "keys"] or _is_administration(method, parts):
        return Scope.ADMIN
    if method in READING_METHODS:
        return Scope.READ
    if method == "POST" and _masked(parts) in _READ_BY_POST:
        return Scope.READ
    return Scope.WRITE


def _is_administration(method: str, parts: list[str]) -> bool:
    match method, *parts[1:]:
        case ("POST", "v2", "pipelines" | "udfs") | ("DELETE", "v2", "pipelines" | "udfs", _):
            return True
        case "POST", "v2", "udfs", _, action:
            return action in _ADMINISTERING
        case _:
            return False


def _masked(parts: list[str]) -> str:
    return "/".join((*parts[:3], *(["*"] if parts[3:] else ()), *parts[4:]))
