"""What a lookup finds, and which part of each row it wants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from layer_cache.domain.bodies import EMPTY, project
from layer_cache.domain.limits import LOOKUP_BYTES_MAX
from layer_cache.domain.rows import Hits


class Found(msgspec.Struct, eq=False):
    """What a lookup found: parallel lists of positions, bodies and vectors."""

    read_token: bytes
    is_suspended: bool
    positions: list[int] = msgspec.field(default_factory=list)
    bodies: list[bytes] = msgspec.field(default_factory=list)
    vectors: list[bytes] = msgspec.field(default_factory=list)
    payload_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Projection:
    """Which part of each row is wanted."""

    with_vectors: bool = False
    attribute_names: Sequence[str] = ()
    ids_only: bool = False

    @property
    def is_of_body(self) -> bool:
        """Whether all of a body is wanted."""
        return not (self.ids_only or self.attribute_names)

    def of(self, body: bytes) -> bytes | None:
        """Return the part of ``body`` that is wanted; None where it is no JSON object."""
        if self.ids_only:
            return EMPTY
        return project(body, self.attribute_names) if self.attribute_names else body


WHOLE_BODY: Final = Projection()


def collect(found: Found, start: int, hits: Hits, projection: Projection) -> bool:
    """Add hits to what was found; tell whether there was room for all of them."""
    positions = [start + position for position in hits.positions] if start else hits.positions
    payload_bytes = found.payload_bytes + sum(map(len, hits.bodies))
    if projection.with_vectors:
        payload_bytes += sum(map(len, hits.vectors))
    if projection.is_of_body and payload_bytes <= LOOKUP_BYTES_MAX:
        # As most lookups are. A turn of the loop below for each row takes thrice as long.
        found.payload_bytes = payload_bytes
        if not start:
            found.positions, found.bodies, found.vectors = hits
            return True
        found.positions += positions
        found.bodies += hits.bodies
        found.vectors += hits.vectors
        return True
    for position, body, vectors in zip(positions, hits.bodies, hits.vectors, strict=True):
        part = projection.of(body)
        if part is None:
            continue
        found.payload_bytes += len(part) + len(vectors)
        if found.payload_bytes > LOOKUP_BYTES_MAX:
            return False
        found.positions.append(position)
        found.bodies.append(part)
        found.vectors.append(vectors)
    return True
