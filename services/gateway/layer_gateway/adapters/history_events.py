"""Events as the history service takes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from layer.history.v1 import history_pb2
from layer_gateway.domain.history import Clicked, Queried
from layer_gateway.domain.summaries import count_components, summarise
from layer_kit.clock import Monotonic

RAW_QUERY_LENGTH_MAX: Final = 8_192
DOCUMENT_ID_BYTES_MAX: Final = 256
DIMENSION_TTL_S: Final = 60.0
NAMESPACES_REMEMBERED_MAX: Final = 10_000

_SERVED_FROM: Final = {
    True: history_pb2.SERVED_FROM_CACHE,
    False: history_pb2.SERVED_FROM_UPSTREAM,
}


class Rendering:
    """Renders events, remembering for a minute how long the vectors of each namespace are.

    Counting the components of a vector costs more than all the rest, and a namespace has one
    dimension for as long as it lives.
    """

    def __init__(self, clock: Monotonic) -> None:
        self._clock = clock
        self._dimensions: dict[str, tuple[float, int]] = {}

    def events(self, happened: Queried | Clicked) -> Iterator[history_pb2.Event]:
        """Yield what one answer made happen: a search, or each row that was opened."""
        if isinstance(happened, Queried):
            yield history_pb2.Event(query=self._query(happened))
            return
        source = (
            history_pb2.CLICK_SOURCE_BATCH if happened.is_batch else history_pb2.CLICK_SOURCE_SINGLE
        )
        for at, (document_id, is_cached) in enumerate(happened.rows):
            if len(document_id.encode()) > DOCUMENT_ID_BYTES_MAX:
                continue  # no row has such an id
            yield history_pb2.Event(
                click=history_pb2.ClickEvent(
                    event_time_ns=happened.first_ns + at,
                    namespace=happened.namespace,
                    trace_id=happened.trace_id,
                    document_id=document_id,
                    tags=happened.tags,
                    source=source,
                    served_from=_SERVED_FROM[is_cached],
                )
            )

    def _query(self, happened: Queried) -> history_pb2.QueryEvent:
        return history_pb2.QueryEvent(
            event_time_ns=happened.time_ns,
            namespace=happened.namespace,
            trace_id=happened.trace_id,
            raw_query=_text(happened.raw_query),
            stable_as_of_ms=happened.stable_as_of_ms,
            summary_json=summarise(
                happened.fields, happened.echo, self._counting(happened.namespace)
            ),
            # Each once: several legs of a query may find the same row.
            top_result_ids=dict.fromkeys(map(str, happened.top_ids)),
            tags=happened.tags,
        )

    def _counting(self, namespace: str) -> Callable[[bytes], int]:
        def count(vector: bytes) -> int:
            known = self._dimensions.get(namespace)
            if known is not None and known[0] > self._clock():
                return known[1]
            if len(self._dimensions) >= NAMESPACES_REMEMBERED_MAX:
                self._dimensions.clear()
            dimension = count_components(vector)
            self._dimensions[namespace] = (self._clock() + DIMENSION_TTL_S, dimension)
            return dimension

        return count


def _text(raw_query: str) -> str:
    """Return what protobuf takes: no lone surrogates, which bytes that are no UTF-8 arrive as."""
    return raw_query[:RAW_QUERY_LENGTH_MAX].encode(errors="replace").decode()
