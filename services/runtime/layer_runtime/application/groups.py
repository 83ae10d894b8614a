"""Documents of several rows, for functions whose items they are.

Rows say by ``_hevlayer_parent_id`` which document they are a part of, and by
``_hevlayer_chunk_index`` where in it they are. A row that says neither is a document of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from layer_runtime.domain.items import Row, parent_of, place_of
from layer_runtime.domain.markers import PARENT, PLACE, Condition
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
    listed: list[str] = []
    counts: Counter[str] = Counter()
    stream = rows.stream(
        namespace,
        own_filter=b"",
        condition=_members(ids, types),
        scalars=places,
        page_size=MEMBERS_PAGE_SIZE,
    )
    async with aclosing(stream):
        async for page in stream:
            for row in page:
                counts[parent_of(row)] += 1
                if counts[parent_of(row)] <= PAGES_PER_DOCUMENT_MAX:
                    listed.append(row.id)
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
    too_long = {id_ for id_ in wanted if counts[id_] > PAGES_PER_DOCUMENT_MAX}
    return Documents(rows=by_document, moved=moved, too_long=too_long)


def _members(ids: Sequence[str], types: Mapping[str, str]) -> Condition:
    own: Condition = ["id", "In", _typed(ids, types.get("id", ""))]
    if PARENT not in types:
        return own
    return ["Or", [own, [PARENT, "In", _typed(ids, types[PARENT])]]]


def _typed(ids: Sequence[str], type_: str) -> list[object]:
    if type_ in ("uint", "int"):
        return [int(id_) for id_ in ids if id_.removeprefix("-").isdecimal()]
    return list(ids)
