"""Every route that the gateway answers itself. All others are passed on to the store.

GET    /health  /ready  /metrics                      public
GET    /v2/namespaces                                 list
GET    /v2/namespaces/{namespace}/metadata            describe
POST   /v2/namespaces/{namespace}                     write
DELETE /v2/namespaces/{namespace}                     delete
POST   /v2/namespaces/{namespace}/query               query
GET    /v2/namespaces/{namespace}/documents/{id}      fetch one
POST   /v2/namespaces/{namespace}/documents           fetch many
POST   /v1/namespaces/{namespace}/query               passed on as /v2/…/query
POST   /v1/namespaces/{namespace}/schema              passed on, then remembered anew
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from urllib.parse import unquote

PUBLIC_PATHS = frozenset({"/health", "/ready", "/metrics"})


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


@dataclass(frozen=True, slots=True)
class Route:
    """An operation with the names out of its path, percent-decoded and not yet checked."""

    operation: Operation
    namespace: str = ""
    document_id: str = ""


PASS = Route(Operation.PASS)


def route(method: str, path: str) -> Route:
    """Find the route of a request by its method and its path without query string."""
    parts = path.split("/")
    match method, parts:
        case "GET", ["", "v2", "namespaces"]:
            return Route(Operation.LIST)
        case "POST", ["", "v2", "namespaces", namespace]:
            return Route(Operation.WRITE, unquote(namespace))
        case "DELETE", ["", "v2", "namespaces", namespace]:
            return Route(Operation.DELETE, unquote(namespace))
        case "POST", ["", "v2", "namespaces", namespace, "query"]:
            return Route(Operation.QUERY, unquote(namespace))
        case "POST", ["", "v1", "namespaces", namespace, "query"]:
            return Route(Operation.QUERY_OLD_PATH, unquote(namespace))
        case "POST", ["", "v1", "namespaces", namespace, "schema"]:
            return Route(Operation.CHANGE_SCHEMA, unquote(namespace))
        case "GET", ["", "v2", "namespaces", namespace, "metadata"]:
            return Route(Operation.DESCRIBE, unquote(namespace))
        case "POST", ["", "v2", "namespaces", namespace, "documents"]:
            return Route(Operation.FETCH_MANY, unquote(namespace))
        case "GET", ["", "v2", "namespaces", namespace, "documents", document_id]:
            return Route(Operation.FETCH_ONE, unquote(namespace), unquote(document_id))
        case _:
            return PASS
