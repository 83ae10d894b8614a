"""Lookups as the cache's messages have them."""

from __future__ import annotations

from collections.abc import Sequence

from layer.cache.v1 import cache_pb2
from layer_gateway.ports.rows import CacheLookup, LookupKind


def request_of(kind: LookupKind, ids: Sequence[bytes]) -> cache_pb2.LookupRowsRequest:
    """Return the message that asks for ``ids``; what it leaves out costs nothing."""
    namespace, names, with_vectors = kind
    request = cache_pb2.LookupRowsRequest(namespace=namespace, ids=ids)
    if names is not None:
        request.attribute_names.extend(names)
        request.ids_only = not names
    if with_vectors:
        request.with_vectors = True
    return request


def lookup_of(response: cache_pb2.LookupRowsResponse) -> CacheLookup:
    """Return what a message tells, which is nothing where its columns differ in length."""
    # A slice of a column costs a third of going through it.
    positions, bodies, vectors = response.hit_positions[:], response.bodies[:], response.vectors[:]
    if not len(positions) == len(bodies) == len(vectors):
        return CacheLookup(is_available=False)
    return CacheLookup(
        positions=positions, bodies=bodies, vectors=vectors, read_token=response.read_token
    )
