"""Pages of whole rows, a list per attribute: the answer of an early release of the service."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from layer_vectorstore.domain.encoding_rows import VECTOR
from layer_vectorstore.domain.errors import RefusedError
from layer_vectorstore.domain.filters import Condition
from layer_vectorstore.domain.limits import LIMIT_MAX
from layer_vectorstore.domain.query import Query, Selection
from layer_vectorstore.domain.query_parsing import BY_ID
from layer_vectorstore.domain.rendering import chosen_attributes, render
from layer_vectorstore.domain.schema import ID
from layer_vectorstore.domain.selecting import select
from layer_vectorstore.domain.table import TableView


@dataclass(frozen=True, slots=True)
class Page:
    after: Any = None
    """The id after which it starts, as JSON; None starts at the first row."""


def parse_cursor(cursor: str) -> Page:
    """Read what an earlier page gave as ``next_cursor``.

    Raises:
        RefusedError: ``CURSOR_INVALID``.
    """
    if not cursor:
        return Page()
    try:
        after = msgspec.json.decode(cursor)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise RefusedError("CURSOR_INVALID", "💔 invalid cursor") from error
    return Page(after)


def export(page: Page, view: TableView) -> dict[str, Any]:
    """Return a page in order of id; values that rows do not have are null.

    Raises:
        RefusedError: ``FILTER_INVALID``, for the cursor of a namespace with other ids.
    """
    selection = Selection(include=True)
    after = None if page.after is None else Condition(ID, "Gt", page.after)
    query = Query(rank=BY_ID, filter=after, limit=LIMIT_MAX + 1, selection=selection)
    selected = select(query, view)
    rows, _ = render(query, selected.part(0, LIMIT_MAX), view, "float")
    is_last = len(selected.slots) <= LIMIT_MAX
    names = [name for name in chosen_attributes(selection, view.schema) if name != VECTOR]
    return {
        "ids": [row[ID] for row in rows],
        "vectors": [row.get(VECTOR) for row in rows],
        "attributes": {name: [row.get(name) for row in rows] for name in names},
        "next_cursor": None if is_last else msgspec.json.encode(rows[-1][ID]).decode(),
        "message": None,
    }
