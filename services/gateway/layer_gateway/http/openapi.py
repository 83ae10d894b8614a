"""The OpenAPI document of the edge, made from its routes and what is told of each operation."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from layer_gateway.domain.access import required_scope
from layer_gateway.http.operation_doc import Fields, OperationDoc
from layer_gateway.http.operation_docs import DOCS
from layer_gateway.http.routes import PUBLIC_OPERATIONS, ROUTES, Operation
from layer_gateway.version import VERSION

Json = dict[str, Any]

_NAMES: Final = re.compile(r"\{(\w+)\}")
_MEDIA: Final = {
    "json": "application/json",
    "bytes": "application/octet-stream",
    "form": "application/x-www-form-urlencoded",
}
_ERROR: Final[Json] = {
    "type": "object",
    "required": ["error", "message"],
    "properties": {
        "error": {"type": "string"},
        "message": {"type": "string"},
        "reason": {"type": "string"},
    },
}


def openapi(
    routes: Mapping[str, Operation] = ROUTES, docs: Mapping[Operation, OperationDoc] = DOCS
) -> Json:
    """Return the document. What it does not name is passed on to the store."""
    paths: dict[str, Json] = {}
    for key, operation in routes.items():
        method, path = key.split(" ")
        paths.setdefault(path, {})[method.lower()] = _operation(
            method, path, operation, docs[operation]
        )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "layer",
            "version": VERSION,
            "description": "The routes of the gateway's own. All others are the store's.",
        },
        "paths": paths,
        "components": {
            "schemas": {"Error": _ERROR},
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(method: str, path: str, operation: Operation, doc: OperationDoc) -> Json:
    found: Json = {
        "operationId": _operation_id(method, path, operation),
        "summary": doc.summary,
        "parameters": [
            *(_parameter(name, "path", "string") for name in _NAMES.findall(path)),
            *(_parameter(name, "query", type_) for name, type_ in (doc.query or {}).items()),
        ],
        "responses": {
            str(doc.status): _answer(doc.gives),
            "default": {
                "description": "A refusal",
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
            },
        },
    }
    if doc.takes is not None:
        schema = _object(doc.takes) if doc.body == "json" else {}
        found["requestBody"] = {"content": {_MEDIA[doc.body]: {"schema": schema}}}
    if operation in PUBLIC_OPERATIONS:
        found["security"] = []
    else:
        found["security"] = [{"bearer": []}]
        found["x-required-scope"] = required_scope(method, path).value
    return found


def _operation_id(method: str, path: str, operation: Operation) -> str:
    """Name an operation after its route, since some have several."""
    words = _NAMES.sub(r"by_\1", path).replace(".", "_").split("/")
    return "_".join((operation.value, method.lower(), *(word for word in words if word)))


def _parameter(name: str, place: str, type_: str) -> Json:
    return {
        "name": name,
        "in": place,
        "required": place == "path",
        "schema": {"type": type_},
    }


def _answer(gives: Fields | None) -> Json:
    if gives is None:
        return {"description": "What was asked for"}
    schema = _object(gives) | {"required": list(gives)}
    return {
        "description": "What was asked for",
        "content": {"application/json": {"schema": schema}},
    }


def _object(fields: Fields) -> Json:
    """Describe an object of which layer names some fields and lets others pass."""
    return {
        "type": "object",
        "properties": {name: {"type": type_} for name, type_ in fields.items()},
    }
