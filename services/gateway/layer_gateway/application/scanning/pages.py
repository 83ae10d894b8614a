"""What a scan reads of the store's answers: ids and the values of one attribute, nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Final, Protocol

import msgspec

from layer_wire.ids import JsonId
from layer_wire.jsontext import Raw, RawObject
from layer_wire.rows import query_answer, read_answer, row_ids


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Rows that were selected."""

    ids: Sequence[JsonId]
    values: Sequence[Raw] = ()
    """Of the attribute asked for, of those rows that have it."""


class Taking(Protocol):
    """Takes in the rows of a scan."""

    field: str
    """The attribute whose values it needs; empty when none."""
    rows_count: int

    def take(self, part: int, page: Page) -> None:
        """Take in rows, which ascend by id within a part unless they were ranked."""
        ...

    def reset(self) -> None:
        """Forget all of it: the scan begins anew."""
        ...


class _Row(msgspec.Struct, gc=False):
    id: Annotated[int, msgspec.Meta(ge=0)] | str


class _Ids(msgspec.Struct):
    rows: list[_Row] = []


_IDS: Final[msgspec.json.Decoder[_Ids]] = msgspec.json.Decoder(_Ids)


@dataclass(slots=True, kw_only=True)
class CountTaking:
    """Takes in how many rows there are."""

    field: str = field(default="", init=False)
    rows_count: int = 0

    def take(self, part: int, page: Page) -> None:
        self.rows_count += len(page.ids)

    def reset(self) -> None:
        self.rows_count = 0


def names_of(name: str) -> Sequence[str]:
    """Return the attributes to ask for."""
    return [name] if name and name != "id" else ()


def read_page(body: bytes, name: str, rows_max: int) -> tuple[Page, bool]:
    """Read an answer whose rows need no rank; tell also whether there were more than ``rows_max``.

    Raises:
        UpstreamError: ``UPSTREAM_UNREADABLE``.
    """
    if name:
        rows = read_rows(body)
        return page_of(rows[:rows_max], name), len(rows) > rows_max
    found = read_answer(_IDS, body).rows
    return Page(ids=[row.id for row in found[:rows_max]]), len(found) > rows_max


def read_rows(body: bytes) -> list[RawObject]:
    """Read an answer's rows as they are; errors as for :func:`read_page`."""
    return read_answer(query_answer, body).rows


def page_of(rows: Sequence[RawObject], name: str) -> Page:
    """Return rows as a page; errors as for :func:`read_page`."""
    values = [row[name] for row in rows if name in row] if name else ()
    return Page(ids=row_ids(rows), values=values)


def without(page: Page, id_: JsonId) -> Page:
    """Return a page without one row, if that is there; it has no value that anybody asks for."""
    if id_ not in page.ids:
        return page
    return Page(ids=[one for one in page.ids if one != id_], values=page.values)
