"""Documents of several rows, for functions whose items they are.

Rows say by ``_hevlayer_parent_id`` which document they are a part of, and by
``_hevlayer_chunk_index`` where in it they are. A row that says neither is a document of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from layer_runtime.domain.items import Row, parent_of, place_of
from layer_runtime.domain.markers import PARENT, PLACE, Condition, is_one_of
from layer_runtime.ports.rows import Rows

PAGES_PER_DOCUMENT_MAX: Final = 1000
ROWS_PER_READ: Final = 1000
MEMBERS_PAGE_SIZE: Final = 10_000


@dataclass(slots=True, kw_only=True)
class Documents:
    """What was found of documents that were asked for."""

    rows: Mapping[str, Sequence[Row]]
    """By document, in their order."""
    moved: Mapping[str, str]
    """Ids that were taken for documents and are rows of others: of which."""
    too_long: AbstractSet[str] = frozenset()
    """Documents of more rows than an item can have."""


async def read_documents(
    rows: Rows,
    namespace: str,
    ids: Sequence[str],
    *,
    names: Sequence[str],
    scalars: Sequence[str],
) -> Documents:
    """Read documents with all of their rows.

    Which rows those are is asked of the store, and what is in them of the cache or the store,
    which is never older than the last write.

    Raises:
        NotFoundError: ``NAMESPACE_NOT_FOUND``.
        UnavailableError: ``GATEWAY_DOWN``.
    """
    types = await rows.types(namespace, having=PARENT)
    places = [name for name in (PARENT, PLACE) if name in types]
    wanted = set(ids)
    listed, too_long = await _listed(rows, namespace, ids, types, places)
    by_document: dict[str, list[Row]] = {}
    moved: dict[str, str] = {}
    for at in range(0, len(listed), ROWS_PER_READ):
        part = listed[at : at + ROWS_PER_READ]
        read = await rows.lookup(namespace, part, names=names, scalars=[*scalars, *places])
        for row in read.values():
            document = parent_of(row)
            if document in wanted:
                by_document.setdefault(document, []).append(row)
            if row.id in wanted and document != row.id:
                moved[row.id] = document
    for found_rows in by_document.values():
        found_rows.sort(key=lambda row: (place_of(row), row.id))
    return Documents(rows=by_document, moved=moved, too_long=too_long)


async def _listed(
    rows: Rows,
    namespace: str,
    ids: Sequence[str],
    types: Mapping[str, str],
    scalars: Sequence[str],
) -> tuple[Sequence[str], AbstractSet[str]]:
    """Return the rows of documents, and the documents that have too many.

    Of those the first rows are listed. The others are listed anew without them as soon as they are
    found, so that a document of millions of rows takes no longer than others do.
    """
    listed: list[str] = []
    too_long: set[str] = set()
    while left := [id_ for id_ in ids if id_ not in too_long]:
        members: dict[str, list[str]] = {}
        stream = rows.stream(
            namespace,
            own_filter=b"",
            condition=_members(left, types),
            scalars=scalars,
            page_size=MEMBERS_PAGE_SIZE,
        )
        found: set[str] = set()
        async with aclosing(stream):
            async for page in stream:
                for row in page:
                    members.setdefault(parent_of(row), []).append(row.id)
                found = {id_ for id_ in left if len(members.get(id_, ())) > PAGES_PER_DOCUMENT_MAX}
                if found:
                    break
        for document, row_ids in members.items():
            if not found or document in found:
                listed += row_ids[:PAGES_PER_DOCUMENT_MAX]
        if not found:
            break
        too_long |= found
    return listed, too_long


def _members(ids: Sequence[str], types: Mapping[str, str]) -> Condition:
    own = is_one_of("id", ids, types)
    return ["Or", [own, is_one_of(PARENT, ids, types)]] if PARENT in types else own
