"""Bodies in pieces: to join them would copy all of the vectors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain, repeat

from layer_wire.jsontext import Piece, Raw, encode


def object_parts(sections: Sequence[Sequence[Piece]]) -> list[Piece]:
    """Return an object of ``sections`` in parts, since joining them would copy all of it."""
    separated = [part for section in sections for part in (b",", *section)]
    return [b"{", *separated[1:], b"}"]


def row_parts(
    name: str, id_texts: Sequence[Raw], vectors: Sequence[Piece], encoded: Sequence[bytes]
) -> list[Piece]:
    """Return ``"name":[…]`` in pieces: each vector is one, what stands between two another."""
    befores = [b"%b:[" % encode(name), *[attributes[1:] for attributes in encoded]]
    separators = [b"", *[b"," if fields else b"" for fields in vectors]]
    openings = chain((b'{"id":',), repeat(b',{"id":'))
    between = list(
        map(b"".join, zip(separators, befores, openings, id_texts, repeat(b","), strict=False))
    )
    last = b"".join((separators[-1], befores[-1], b"]"))
    pieces: Iterable[Piece] = chain.from_iterable(zip(between, vectors, strict=True))
    return [*[piece for piece in pieces if piece], last]
