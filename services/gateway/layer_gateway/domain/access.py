"""What a key may do, and what each request needs (docs/reference/http.md, "Authentication")."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import Enum
from fnmatch import fnmatchcase
from typing import Final
from urllib.parse import unquote

from layer_kit.remembering import remembered_if_short


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
    namespaces: Sequence[str] = ()
    """Patterns, as of file names, of the only namespaces that it is for; none is all of them."""

    def allows(self, scope: Scope) -> bool:
        """Tell whether a request that needs ``scope`` may pass; ``write`` holds no ``read``."""
        return scope in self.scopes or _ADMIN in self.scopes


def is_within(patterns: Sequence[str], namespace: str) -> bool:
    """Tell whether a namespace is one of those that a key is for."""
    return not patterns or any(fnmatchcase(namespace, pattern) for pattern in patterns)


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

_ABOUT_MANY: Final = frozenset(
    {("GET", "/v2/namespaces"), ("HEAD", "/v2/namespaces"), ("POST", "/v2/query")}
)
_STORES: Final = ["v2", "vectorstores"]
NAMESPACE_AT: Final = 3
"""Which segment of a path names the namespace."""

_UPWARDS: Final = frozenset({".", ".."})

PATHS_REMEMBERED_MAX: Final = 4096
REMEMBERED_CHARACTERS_MAX: Final = 256
"""Of longer ones all is found anew: callers without a key can send as many as they like."""

_ADMINISTERING: Final = frozenset({"pause", "resume", "reset-failed", "discover"})


_remembered: Final = remembered_if_short(
    count_max=PATHS_REMEMBERED_MAX, characters_max=REMEMBERED_CHARACTERS_MAX
)


@_remembered
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


@_remembered
def named_namespace(path: str) -> str | None:
    """Return the namespace that a request is about; None where it is about no single one.

    Nor is one whose path a store may resolve to that of another.
    """
    parts = [unquote(part) for part in path.split("/")]
    if parts[2:3] != ["namespaces"] or len(parts) <= NAMESPACE_AT or _leads_upwards(path):
        return None
    name = parts[NAMESPACE_AT]
    return None if "/" in name else name


def is_about_many(method: str, path: str) -> bool:
    """Tell whether a request is about as many namespaces as its caller may name."""
    if (method, path) in _ABOUT_MANY:
        return True
    is_of_stores = path.split("/")[1:3] == _STORES and not _leads_upwards(path)
    return is_of_stores and method in READING_METHODS


def _leads_upwards(path: str) -> bool:
    """Tell whether somebody before the store, or it, may resolve a path to another one."""
    return not _UPWARDS.isdisjoint(unquote(path).split("/"))


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
