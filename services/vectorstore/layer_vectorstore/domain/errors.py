"""Refusals in the words of the contract: user code matches some of these texts."""

from __future__ import annotations

import json
from typing import Final

from layer_kit.errors import InvalidRequestError, NotFoundError
from layer_vectorstore.domain.limits import DIMENSIONS_MAX

SHAPE_PREFIX: Final = "Failed to deserialize the JSON body into the target type"


class RefusedError(InvalidRequestError):
    """The request is well formed and cannot be served: 400."""

    http_status = 400


class SlowPatternsError(InvalidRequestError):
    """The request took too long and was given up, maybe half way through a write."""

    http_status = 400


class MalformedError(InvalidRequestError):
    """The body is JSON of the wrong shape: 422."""

    http_status = 422


def malformed(path: str, problem: str) -> MalformedError:
    """Return the error for the JSON value at ``path``; an empty path is the body itself."""
    where = f"{SHAPE_PREFIX}: {path}: " if path else f"{SHAPE_PREFIX}: "
    return MalformedError("BODY_MALFORMED", where + problem)


def namespace_missing(name: str) -> NotFoundError:
    return NotFoundError("NAMESPACE_NOT_FOUND", f"🤷 namespace '{name}' was not found")


def attribute_type_changed(name: str, before: object, after: object) -> RefusedError:
    return RefusedError(
        "ATTRIBUTE_TYPE_CHANGED",
        f"🙅 invalid schema update for attribute '{name}': "
        f"cannot change attribute type from {before} to {after}",
        attribute=name,
    )


def attribute_value_invalid(name: str, expected: object, value: object) -> RefusedError:
    return RefusedError(
        "ATTRIBUTE_VALUE_INVALID",
        f"💔 invalid value for attribute '{name}': expected {expected}, but got {quoted(value)}",
        attribute=name,
    )


def dimensions_refused() -> RefusedError:
    return RefusedError("VECTOR_INVALID", f"💔 vectors must have 1 to {DIMENSIONS_MAX} dimensions")


def json_kind(value: object) -> str:
    """Name a JSON value's kind as error messages do."""
    match value:
        case None:
            return "null"
        case bool():
            return f"boolean `{str(value).lower()}`"
        case int():
            return f"integer `{value}`"
        case float():
            return f"floating point `{value}`"
        case str():
            return f'string "{shortened(value)}"'
        case list():
            return "sequence"
        case _:
            return "map"


def quoted(value: object) -> str:
    """Show an operand as filter errors do: ``'python'``, ``'[a, b]'``."""
    if isinstance(value, list):
        return f"'[{shortened(', '.join(plain(item) for item in value[:SHOWN_ITEMS_MAX]))}]'"
    return f"'{plain(value)}'"


SHOWN_ITEMS_MAX: Final = 16
SHOWN_LENGTH_MAX: Final = 200


def plain(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case int() if abs(value) >= 1 << 64:
            return "an integer beyond 64 bits"
        case dict():
            return shortened(json.dumps(value, ensure_ascii=False))
        case _:
            return shortened(str(value))


def shortened(text: str) -> str:
    return text if len(text) <= SHOWN_LENGTH_MAX else f"{text[:SHOWN_LENGTH_MAX]}…"
