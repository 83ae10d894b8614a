"""Requests about pipelines to values, checked field by field."""

from __future__ import annotations

import base64
import binascii
import math
import struct
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from layer.common.v1 import common_pb2
from layer.runtime.v1 import runtime_pb2
from layer_kit.errors import InvalidRequestError
from layer_runtime.domain.pipelines import (
    CLAIM_LIMIT_DEFAULT,
    CLAIM_LIMIT_MAX,
    LEASE_S_DEFAULT,
    LEASE_S_MAX,
    Chunk,
    Distance,
)
from layer_wire.reserved import OF_DOCUMENTS, RESERVED_PREFIX

CHUNKS_MAX: Final = 10_000
CHUNK_ID_BYTES_MAX: Final = 64
TEXT_BYTES_MAX: Final = 1024 * 1024
METADATA_BYTES_MAX: Final = 64 * 1024
CHUNKS_BYTES_MAX: Final = 32 * 1024 * 1024
ROWS_MAX: Final = 10_000
ROW_ID_BYTES_MAX: Final = 64
DIMENSION_MAX: Final = 10_752
NOT_ATTRIBUTES: Final = frozenset({"id", "vector", "vectors"})
_DISTANCES: Final = {
    common_pb2.DISTANCE_METRIC_UNSPECIFIED: Distance.COSINE,
    common_pb2.DISTANCE_METRIC_COSINE_DISTANCE: Distance.COSINE,
    common_pb2.DISTANCE_METRIC_EUCLIDEAN_SQUARED: Distance.EUCLIDEAN,
}
_OBJECT: Final = msgspec.json.Decoder(dict[str, object])


def parse_distance(value: common_pb2.DistanceMetric.ValueType) -> Distance:
    """Read a distance; errors: ``DISTANCE_METRIC_INVALID``."""
    if value not in _DISTANCES:
        raise InvalidRequestError(
            "DISTANCE_METRIC_INVALID", f"distance_metric {value} is not one.", value=value
        )
    return _DISTANCES[value]


def parse_chunks(chunks: Sequence[runtime_pb2.Chunk]) -> list[Chunk]:
    """Read the chunks of a document.

    Raises:
        InvalidRequestError: ``TOO_MANY_CHUNKS`` or ``CHUNK_INVALID``.
    """
    size_bytes = sum(len(chunk.text) + len(chunk.metadata_json) for chunk in chunks)
    if len(chunks) > CHUNKS_MAX or size_bytes > CHUNKS_BYTES_MAX:
        raise InvalidRequestError(
            "TOO_MANY_CHUNKS",
            f"A document has at most {CHUNKS_MAX} chunks and {CHUNKS_BYTES_MAX} bytes of them.",
            field="chunks",
        )
    known: set[str] = set()
    return [_chunk(chunk, f"chunks[{at}]", known) for at, chunk in enumerate(chunks)]


def parse_limit(limit: int) -> int:
    """Read how many documents are wanted; errors: ``LIMIT_INVALID``."""
    if limit < 0:
        raise InvalidRequestError("LIMIT_INVALID", f"limit {limit} is negative.", field="limit")
    return min(limit or CLAIM_LIMIT_DEFAULT, CLAIM_LIMIT_MAX)


def parse_lease_s(lease_s: int) -> int:
    """Read the length of a lease; errors: ``LEASE_OUT_OF_RANGE``."""
    if not 0 <= lease_s <= LEASE_S_MAX:
        raise InvalidRequestError(
            "LEASE_OUT_OF_RANGE",
            f"A lease is 1 to {LEASE_S_MAX} seconds, not {lease_s}.",
            field="lease_s",
        )
    return lease_s or LEASE_S_DEFAULT


def parse_page_size(size: int, *, default: int, size_max: int) -> int:
    """Read the size of a page; errors: ``PAGE_SIZE_NEGATIVE``."""
    if size < 0:
        raise InvalidRequestError(
            "PAGE_SIZE_NEGATIVE", f"page_size {size} is negative.", page_size=size
        )
    return min(size or default, size_max)


def page_token(after: str) -> str:
    return base64.urlsafe_b64encode(after.encode()).decode()


def parse_page_token(token: str) -> str:
    """Read what a page comes after; errors: ``PAGE_TOKEN_INVALID``."""
    try:
        after = base64.b64decode(token, altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        after = "\0"  # which no token has
    if "\0" in after:
        raise InvalidRequestError(
            "PAGE_TOKEN_INVALID",
            "The page token is none that an answer has given.",
            field="page_token",
        )
    return after


def parse_rows(vectors: Sequence[runtime_pb2.ChunkVector]) -> list[bytes]:
    """Read rows to write; return each as a serialized ``layer.common.v1.Row``.

    Raises:
        InvalidRequestError: ``VECTOR_INVALID`` or ``ATTRIBUTE_RESERVED``.
    """
    if not 1 <= len(vectors) <= ROWS_MAX:
        raise _vector_invalid("vectors", f"are 1 to {ROWS_MAX}, not {len(vectors)}")
    ids = [vector.row_id for vector in vectors]
    if len(set(ids)) < len(ids):
        raise _vector_invalid("vectors", "name a row twice")
    return [_row(vector, f"vectors[{at}]") for at, vector in enumerate(vectors)]


def _chunk(chunk: runtime_pb2.Chunk, where: str, known: set[str]) -> Chunk:
    if not 1 <= len(chunk.chunk_id.encode()) <= CHUNK_ID_BYTES_MAX:
        raise _chunk_invalid(f"{where}.id", f"is not 1 to {CHUNK_ID_BYTES_MAX} bytes")
    if chunk.chunk_id in known:
        raise _chunk_invalid(f"{where}.id", "names another chunk of the document as well")
    known.add(chunk.chunk_id)
    if len(chunk.text.encode()) > TEXT_BYTES_MAX:
        raise _chunk_invalid(f"{where}.text", f"is over {TEXT_BYTES_MAX} bytes")
    metadata = chunk.metadata_json
    if len(metadata) > METADATA_BYTES_MAX:
        raise _chunk_invalid(f"{where}.metadata", f"is over {METADATA_BYTES_MAX} bytes")
    if metadata:
        try:
            _OBJECT.decode(metadata)  # all of it, since it is given to workers as it came
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise _chunk_invalid(f"{where}.metadata", "is not a JSON object") from error
    text = chunk.text if chunk.HasField("text") else None
    return Chunk(id=chunk.chunk_id, text=text, metadata=metadata)


def _row(vector: runtime_pb2.ChunkVector, where: str) -> bytes:
    if not 1 <= len(vector.row_id.encode()) <= ROW_ID_BYTES_MAX:
        raise _vector_invalid(f"{where}.id", f"is not 1 to {ROW_ID_BYTES_MAX} bytes")
    row = common_pb2.Row(
        id=common_pb2.DocumentId(kind=common_pb2.DOCUMENT_ID_KIND_STRING, text=vector.row_id)
    )
    for name, value in vector.attributes.items():
        is_reserved = name.startswith(RESERVED_PREFIX) and name not in OF_DOCUMENTS
        if is_reserved or name in NOT_ATTRIBUTES:
            raise InvalidRequestError(
                "ATTRIBUTE_RESERVED",
                f"{where}.attributes.{name[:64]} is not a name for an attribute.",
                field=f"{where}.attributes",
            )
        row.attributes[name].CopyFrom(value)
    match vector.WhichOneof("embedding"):
        case "vector":
            _check_vectors([vector.vector], f"{where}.vector")
            row.attributes["vector"].vector_value.CopyFrom(vector.vector)
        case "vectors":
            _check_vectors(vector.vectors.vectors, f"{where}.vectors")
            row.attributes["vectors"].vector_list_value.CopyFrom(vector.vectors)
        case None:
            pass
    return row.SerializeToString()


def _check_vectors(vectors: Iterable[common_pb2.Vector], where: str) -> None:
    dimensions = set()
    for vector in vectors:
        dimensions.add(vector.dimension)
        if not 1 <= vector.dimension <= DIMENSION_MAX or len(vector.data) != 4 * vector.dimension:
            raise _vector_invalid(where, f"is not 1 to {DIMENSION_MAX} 32-bit floats")
        numbers = struct.unpack(f"<{vector.dimension}f", vector.data)
        if not math.isfinite(sum(numbers)) and not all(map(math.isfinite, numbers)):
            raise _vector_invalid(where, "has a component that is not finite")
    if len(dimensions) != 1:
        raise _vector_invalid(where, "is empty, or of several dimensions")


def _chunk_invalid(where: str, rule: str) -> InvalidRequestError:
    return InvalidRequestError("CHUNK_INVALID", f"{where} {rule}.", field=where)


def _vector_invalid(where: str, rule: str) -> InvalidRequestError:
    return InvalidRequestError("VECTOR_INVALID", f"{where} {rule}.", field=where)
