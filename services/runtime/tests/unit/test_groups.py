"""Which rows a document has, and what one of very many costs the others."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

import pytest

from layer_runtime.application.groups import PAGES_PER_DOCUMENT_MAX, read_documents
from layer_runtime.domain.items import Row
from layer_runtime.domain.markers import PARENT, PLACE, is_one_of

PAGE_SIZE = 500
TYPES = {"id": "string", PARENT: "string", PLACE: "uint"}


class Pages:
    """Rows of documents, by page, and how many pages were asked for."""

    def __init__(self, counts: Mapping[str, int]) -> None:
        self.pages_count = 0
        self.streams_count = 0
        self.rows = {
            f"{document}-{at:07}": Row(
                id=f"{document}-{at:07}", attributes={}, scalars={PARENT: document, PLACE: at}
            )
            for document, count in counts.items()
            for at in range(count)
        }

    async def types(self, namespace: str, *, having: str = "") -> Mapping[str, str]:
        return TYPES

    async def stream(
        self, namespace: str, *, condition: Any, **_: object
    ) -> AsyncGenerator[Sequence[Row]]:
        self.streams_count += 1
        (_, (_, (_, _, wanted))) = condition
        found = [row for row in self.rows.values() if row.scalars[PARENT] in wanted]
        for at in range(0, len(found), PAGE_SIZE):
            self.pages_count += 1
            yield found[at : at + PAGE_SIZE]

    async def lookup(self, namespace: str, ids: Sequence[str], **_: object) -> Mapping[str, Row]:
        return {id_: self.rows[id_] for id_ in ids}


async def read(rows: Any, *ids: str) -> Any:
    return await read_documents(rows, "books", ids, names=(), scalars=())


@pytest.mark.asyncio
async def test_a_document_of_very_many_rows_is_told_and_not_read_to_its_end() -> None:
    pages = Pages({"a": 3, "huge": 100 * PAGES_PER_DOCUMENT_MAX, "z": PAGES_PER_DOCUMENT_MAX})
    found = await read(pages, "a", "huge", "z")
    assert found.too_long == {"huge"}
    assert {id_: len(rows) for id_, rows in found.rows.items()} == {
        "a": 3,
        "huge": PAGES_PER_DOCUMENT_MAX,
        "z": PAGES_PER_DOCUMENT_MAX,
    }
    assert pages.streams_count == 2
    assert pages.pages_count <= 2 + 2 * 3 * PAGES_PER_DOCUMENT_MAX // PAGE_SIZE


@pytest.mark.asyncio
async def test_documents_that_are_all_too_long_are_all_told() -> None:
    pages = Pages(dict.fromkeys("abc", PAGES_PER_DOCUMENT_MAX + 1))
    assert (await read(pages, "a", "b", "c")).too_long == {"a", "b", "c"}


@pytest.mark.asyncio
async def test_the_rows_of_a_document_are_in_their_order() -> None:
    found = await read(Pages({"a": 12, "b": 1}), "a", "b", "gone")
    assert [row.scalars[PLACE] for row in found.rows["a"]] == list(range(12))
    assert (found.rows.keys(), found.too_long) == ({"a", "b"}, set())


def test_ids_are_compared_as_the_type_of_the_attribute_has_them() -> None:
    assert is_one_of("id", ["1", "x", "-2"], {"id": "int"}) == ["id", "In", [1, -2]]
    assert is_one_of("id", ["1", "x"], {"id": "string"}) == ["id", "In", ["1", "x"]]
