"""Which rows a write has written, read from its body once more, away from the caller's wait."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from layer.common.v1 import common_pb2
from layer.runtime.v1 import runtime_pb2
from layer_kit.names import Namespace
from layer_kit.turns import Steps
from layer_messages.ids import id_message
from layer_wire.ids import JsonId, decode_ids
from layer_wire.jsontext import RawObject, decode_object
from layer_wire.rows import WriteAnswer, row_ids, write_answer
from layer_wire.writes import WriteBody, decoding, not_null

ID: Final = "id"
PATCH_BY_FILTER: Final = "patch_by_filter"


def written_rows(
    namespace: Namespace, body: bytes, answer_body: bytes
) -> Steps[list[runtime_pb2.WrittenRows]]:
    """Return the rows that were upserted and those that were patched, with what was patched.

    Of a conditional write they are those that its answer names.

    Raises:
        LayerError: Body or answer cannot be read.
    """
    write = yield from decoding(body)
    if write is None:
        return []
    answer = _answer(answer_body) if write.is_conditional or write.is_by_filter else WriteAnswer()
    upserted, patched, names = _upserted_ids(write), _patched_ids(write), _patched_names(write)
    if write.is_conditional:
        upserted, patched = answer.upserted_ids or [], answer.patched_ids or []
    elif not_null(write.rest, PATCH_BY_FILTER):
        patched = answer.patched_ids or []
    found = []
    if upserted:
        found.append(runtime_pb2.WrittenRows(namespace=namespace, ids=_messages(upserted)))
    if patched:
        found.append(
            runtime_pb2.WrittenRows(
                namespace=namespace,
                ids=_messages(patched),
                is_partial=True,
                attribute_names=sorted(names),
            )
        )
    return found


def in_parts(
    writes: Sequence[runtime_pb2.WrittenRows], ids_count_max: int
) -> Iterator[runtime_pb2.EnqueueItemsRequest]:
    """Yield requests of at most ``ids_count_max`` ids."""
    request, count = runtime_pb2.EnqueueItemsRequest(), 0
    for write in writes:
        start = 0
        while start < len(write.ids):
            ids = write.ids[start : start + ids_count_max - count]
            request.writes.add(
                namespace=write.namespace,
                ids=ids,
                is_partial=write.is_partial,
                attribute_names=write.attribute_names,
            )
            start, count = start + len(ids), count + len(ids)
            if count == ids_count_max:
                yield request
                request, count = runtime_pb2.EnqueueItemsRequest(), 0
    if count:
        yield request


def _answer(body: bytes) -> WriteAnswer:
    try:
        return write_answer.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return WriteAnswer()


def _upserted_ids(write: WriteBody) -> list[JsonId]:
    return _ids(write.rows.get("upsert_rows"), write.columns.get("upsert_columns"))


def _patched_ids(write: WriteBody) -> list[JsonId]:
    return _ids(write.rows.get("patch_rows"), write.columns.get("patch_columns"))


def _ids(rows: list[RawObject] | None, columns: RawObject | None) -> list[JsonId]:
    found = row_ids(rows) if rows else []
    if columns and ID in columns:
        found += decode_ids(columns[ID], where=ID)
    return found


def _patched_names(write: WriteBody) -> set[str]:
    names = {name for row in write.rows.get("patch_rows", ()) for name in row}
    names.update(write.columns.get("patch_columns", ()))
    if not_null(write.rest, PATCH_BY_FILTER):
        fields = decode_object(write.rest[PATCH_BY_FILTER])
        if "patch" in fields:
            names.update(decode_object(fields["patch"]))
    return names - {ID}


def _messages(ids: Sequence[JsonId]) -> list[common_pb2.DocumentId]:
    return [id_message(id_, None) for id_ in ids]
