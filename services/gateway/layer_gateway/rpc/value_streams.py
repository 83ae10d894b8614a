"""Streams of values: which attributes are asked for, and pages of rows as columns of JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from layer.gateway.v1 import gateway_pb2
from layer_gateway.application.facts import NamespaceFacts
from layer_gateway.application.streaming import RowStream
from layer_gateway.rpc.reading import PAGE_SIZE_DEFAULT, STREAMED_BYTES_MAX, page_size
from layer_kit.errors import InvalidRequestError
from layer_messages.filters import filter_json
from layer_messages.ids import id_json, id_message
from layer_wire.jsontext import RawObject, raw
from layer_wire.queries import UPSTREAM_ROWS_MAX, written_span
from layer_wire.rows import row_id

ATTRIBUTES_MAX: Final = 64


def value_stream(request: gateway_pb2.StreamValuesRequest, facts: NamespaceFacts) -> RowStream:
    """Return which rows a stream of values is asked for.

    The store refuses to be asked for an attribute that its schema does not have.

    Raises:
        InvalidRequestError: ``NO_ATTRIBUTES``, ``TOO_MANY_ATTRIBUTES``, ``PAGE_SIZE_NEGATIVE``,
            ``ID_INVALID``, ``FILTER_INVALID`` or ``VALUE_INVALID``.
    """
    names = list(dict.fromkeys(request.attribute_names))
    if not names or not all(names):
        raise InvalidRequestError("NO_ATTRIBUTES", "attribute_names names at least one attribute.")
    if len(names) > ATTRIBUTES_MAX:
        raise InvalidRequestError(
            "TOO_MANY_ATTRIBUTES",
            f"{len(names)} attributes; the limit is {ATTRIBUTES_MAX}.",
            count=len(names),
            count_max=ATTRIBUTES_MAX,
        )
    own = raw(filter_json(request.filter, "filter")) if request.HasField("filter") else None
    return RowStream(
        filter=own,
        written=written_span(request.as_of_ms, None) if request.HasField("as_of_ms") else None,
        names=[name for name in names if name in facts.types],
        with_vectors=False,
        after=id_json(request.after_id, "after_id") if request.HasField("after_id") else None,
        page_size=page_size(request.page_size, default=PAGE_SIZE_DEFAULT, most=UPSTREAM_ROWS_MAX),
    )


def values_messages(
    page: Sequence[RawObject],
    names: Sequence[str],
    facts: NamespaceFacts,
    stable_as_of_ms: int | None,
) -> Iterator[gateway_pb2.StreamValuesResponse]:
    """Yield the columns of a page of rows in one message, or in several where they are large."""
    message = gateway_pb2.StreamValuesResponse(
        row_count=len(page),
        columns=[_column(page, name, facts.types) for name in names],
        stable_as_of_ms=stable_as_of_ms,
    )
    if len(page) > 1 and message.ByteSize() > STREAMED_BYTES_MAX:
        middle = len(page) // 2
        for half in (page[:middle], page[middle:]):
            yield from values_messages(half, names, facts, stable_as_of_ms)
        return
    if page:
        message.last_id.CopyFrom(id_message(row_id(page[-1]), facts.id_kind))
    yield message


def _column(
    page: Sequence[RawObject], name: str, types: Mapping[str, str]
) -> gateway_pb2.ValueColumn:
    values = [row[name] for row in page if name in row]
    return gateway_pb2.ValueColumn(
        values_json=b"[%b]" % b",".join(values), type=types.get(name, "")
    )
