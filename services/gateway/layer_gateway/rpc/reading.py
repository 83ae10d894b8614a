"""Reads by id and in order: typed requests to the terms of the use cases, and the rows back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from layer.gateway.v1 import gateway_pb2
from layer_gateway.application.fetching import CacheResult, Fetched
from layer_gateway.application.streaming import RowStream
from layer_gateway.ports.rows import LOOKUP_IDS_MAX
from layer_gateway.rpc.rows import RowReader, cached_attributes
from layer_kit.errors import InvalidRequestError
from layer_messages.filters import filter_json
from layer_messages.ids import id_json, kind_of
from layer_wire.ids import IdKind
from layer_wire.jsontext import RawObject, raw
from layer_wire.queries import UPSTREAM_ROWS_MAX, written_span

PAGE_SIZE_DEFAULT: Final = 1000
STREAMED_BYTES_MAX: Final = 16 * 1024 * 1024
"""Rows in one message of a stream; a page of larger rows is cut into several."""


@dataclass(frozen=True, slots=True)
class AskedIds:
    """The ids of a lookup: those that a row of the namespace can have, and where they stood."""

    texts: Sequence[str]
    positions: Sequence[int]


def asked_ids(request: gateway_pb2.LookupRowsRequest, kind: IdKind | None) -> AskedIds:
    """Return the ids that can be found where ids are of ``kind``; None lets all of them pass.

    Raises:
        InvalidRequestError: ``NO_IDS``, ``TOO_MANY_IDS`` or ``ID_INVALID``.
    """
    ids = request.ids
    if not ids:
        raise InvalidRequestError("NO_IDS", "ids is empty; name at least one.")
    if len(ids) > LOOKUP_IDS_MAX:
        raise InvalidRequestError(
            "TOO_MANY_IDS",
            f"{len(ids)} ids in one lookup; the limit is {LOOKUP_IDS_MAX}.",
            count=len(ids),
            count_max=LOOKUP_IDS_MAX,
        )
    for at, id_ in enumerate(ids):
        id_json(id_, f"ids[{at}]")
    positions = [at for at, id_ in enumerate(ids) if kind in (None, kind_of(id_))]
    return AskedIds([ids[at].text for at in positions], positions)


def asked_names(
    request: gateway_pb2.LookupRowsRequest | gateway_pb2.StreamRowsRequest,
) -> list[str] | None:
    """Return the attributes wanted: None means all, empty means none."""
    if request.ids_only:
        return []
    return list(request.attribute_names) or None


def lookup_response(
    request: gateway_pb2.LookupRowsRequest, asked: AskedIds, found: Fetched, reader: RowReader
) -> gateway_pb2.LookupRowsResponse:
    """Return the rows found and the ids missing, each in the order of the request."""
    response = gateway_pb2.LookupRowsResponse()
    places = {place: at for at, place in enumerate(asked.positions)}
    for place, id_ in enumerate(request.ids):
        at = places.get(place)
        if at is None or at not in found.rows:
            response.missing_ids.append(id_)
            continue
        attributes = cached_attributes(found.rows[at])
        row = response.rows.add(cache_outcome=_outcome(found, at))
        row.row.id.CopyFrom(id_)
        reader.fill_attributes(row.row, attributes, attributes)
    return response


def row_stream(request: gateway_pb2.StreamRowsRequest) -> RowStream:
    """Return which rows a stream is asked for.

    Raises:
        InvalidRequestError: ``PAGE_SIZE_NEGATIVE``, ``ID_INVALID``, ``FILTER_INVALID``,
            ``VALUE_INVALID`` or ``BETWEEN_ORDER``.
    """
    after = id_json(request.after_id, "after_id") if request.HasField("after_id") else None
    own = raw(filter_json(request.filter, "filter")) if request.HasField("filter") else None
    match request.WhichOneof("written"):
        case "as_of_ms":
            written = written_span(request.as_of_ms, None)
        case "between":
            span = (request.between.after_ms, request.between.through_ms)
            written = written_span(None, span)
        case _:
            written = None
    return RowStream(
        filter=own,
        written=written,
        names=asked_names(request),
        with_vectors=request.with_vectors and not request.ids_only,
        after=after,
        page_size=page_size(request.page_size, default=PAGE_SIZE_DEFAULT, most=UPSTREAM_ROWS_MAX),
    )


def stream_messages(
    page: Sequence[RawObject], reader: RowReader, stable_as_of_ms: int | None = None
) -> Iterator[gateway_pb2.StreamRowsResponse]:
    """Yield a page of rows as one message, or as several where they are large."""

    def begun() -> gateway_pb2.StreamRowsResponse:
        return gateway_pb2.StreamRowsResponse(stable_as_of_ms=stable_as_of_ms)

    message, size_bytes = begun(), 0
    for found in page:
        row = reader.row(found)
        row_bytes = row.ByteSize()
        if message.rows and size_bytes + row_bytes > STREAMED_BYTES_MAX:
            yield message
            message, size_bytes = begun(), 0
        message.rows.append(row)
        size_bytes += row_bytes
    yield message


def page_size(asked: int, *, default: int, most: int) -> int:
    """Return how many entries a page has: 0 means the default, and what is above ``most`` is cut.

    Raises:
        InvalidRequestError: ``PAGE_SIZE_NEGATIVE``.
    """
    if asked < 0:
        raise InvalidRequestError("PAGE_SIZE_NEGATIVE", "page_size is not negative.")
    return min(asked or default, most)


def _outcome(found: Fetched, at: int) -> gateway_pb2.CacheOutcome.ValueType:
    if at in found.cached:
        return gateway_pb2.CACHE_OUTCOME_HIT
    if found.result is CacheResult.MISS_ON_ERROR:
        return gateway_pb2.CACHE_OUTCOME_ERROR
    return gateway_pb2.CACHE_OUTCOME_MISS
