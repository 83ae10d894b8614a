"""What a typed request says of the search session it belongs to."""

from __future__ import annotations

import random
import time
from typing import Any, Final

import grpc.aio

from layer.gateway.v1 import gateway_pb2
from layer_gateway.domain.visits import (
    SEARCH_QUERY_HEADER,
    TAG_HEADERS,
    Visit,
    read_visit,
    tag_invalid,
)
from layer_kit.errors import InvalidRequestError

RAW_QUERY_LENGTH_MAX: Final = 8192
_numbers: Final = random.Random()  # noqa: S311 -- unlike, not secret


def visit_of(
    request: gateway_pb2.QueryRowsRequest | gateway_pb2.BatchQueryRowsRequest,
    context: grpc.aio.ServicerContext[Any, Any],
) -> Visit:
    """Return what a request and its metadata say.

    Raises:
        InvalidRequestError: ``RAW_QUERY_TOO_LONG``, ``TAG_INVALID`` or ``TOO_MANY_TAGS``.
    """
    if len(request.raw_query) > RAW_QUERY_LENGTH_MAX:
        raise InvalidRequestError(
            "RAW_QUERY_TOO_LONG",
            f"raw_query has at most {RAW_QUERY_LENGTH_MAX} characters.",
            length_max=RAW_QUERY_LENGTH_MAX,
        )
    for tag in request.tags:
        if "," in tag or not tag.strip():  # told apart from a list of tags, and from none
            raise tag_invalid(tag)
    said = {SEARCH_QUERY_HEADER: request.raw_query, TAG_HEADERS[0]: ",".join(request.tags)}
    return _read(_metadata(context) | said)


def visit_of_lookup(context: grpc.aio.ServicerContext[Any, Any]) -> Visit:
    """Return what the metadata of a request says that has no such fields itself.

    Raises:
        InvalidRequestError: ``TAG_INVALID`` or ``TOO_MANY_TAGS``.
    """
    return _read(_metadata(context))


def _metadata(context: grpc.aio.ServicerContext[Any, Any]) -> dict[str, str]:
    return {
        name: value for name, value in context.invocation_metadata() or () if isinstance(value, str)
    }


def _read(said: dict[str, str]) -> Visit:
    return read_visit(said.get, epoch_s=lambda: int(time.time()), random_bits=_numbers.getrandbits)
