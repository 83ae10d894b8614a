"""Every route that the gateway answers itself. All others are passed on to the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final
from urllib.parse import unquote

PUBLIC_PATHS: Final = frozenset({"/health", "/ready", "/metrics"})


class Operation(Enum):
    """What a request asks for."""

    PASS = auto()
    LIST = auto()
    DESCRIBE = auto()
    WRITE = auto()
    DELETE = auto()
    QUERY = auto()
    QUERY_OLD_PATH = auto()
    FETCH_ONE = auto()
    FETCH_MANY = auto()
    CHANGE_SCHEMA = auto()
    STORE_METADATA = auto()


ROUTES: Final[Mapping[tuple[str, str], Operation]] = {
    ("GET", "/v2/namespaces"): Operation.LIST,
    ("GET", "/v2/namespaces/*/metadata"): Operation.DESCRIBE,
    ("POST", "/v2/namespaces/*"): Operation.WRITE,
    ("DELETE", "/v2/namespaces/*"): Operation.DELETE,
    ("POST", "/v2/namespaces/*/query"): Operation.QUERY,
    ("GET", "/v2/namespaces/*/documents/*"): Operation.FETCH_ONE,
    ("POST", "/v2/namespaces/*/documents"): Operation.FETCH_MANY,
    # Passed on, with something before or after.
    ("POST", "/v1/namespaces/*/query"): Operation.QUERY_OLD_PATH,
    ("POST", "/v1/namespaces/*/schema"): Operation.CHANGE_SCHEMA,
    ("GET", "/v1/namespaces/*/metadata"): Operation.STORE_METADATA,
    ("PATCH", "/v1/namespaces/*/metadata"): Operation.STORE_METADATA,
}
"""By method and path, where ``*`` stands for a namespace and then for a document's id."""

NAMESPACE_AT: Final = 3
DOCUMENT_AT: Final = 5


@dataclass(frozen=True, slots=True)
class Route:
    """An operation with the names out of its path, percent-decoded and not yet checked."""

    operation: Operation
    namespace: str = ""
    document_id: str = ""


PASS: Final = Route(Operation.PASS)


def route(method: str, path: str) -> Route:
    """Find the route of a request by its method and its path without query string."""
    parts = path.split("/")
    names = ["", ""]
    for number, at in enumerate((NAMESPACE_AT, DOCUMENT_AT)):
        if at < len(parts):
            names[number], parts[at] = parts[at], "*"
    operation = ROUTES.get((method, "/".join(parts)))
    if operation is None:
        return PASS
    return Route(operation, *map(unquote, names))
