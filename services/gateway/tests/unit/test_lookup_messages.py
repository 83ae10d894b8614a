"""What the cache answers, taken apart."""

from __future__ import annotations

import pytest

from layer.cache.v1 import cache_pb2
from layer_gateway.adapters.lookup_messages import lookup_of, request_of
from layer_gateway.ports.rows import LookupKind
from layer_kit.names import parse_namespace

BOOKS = parse_namespace("books")


def test_rows_are_told_by_column_and_by_position() -> None:
    found = lookup_of(
        cache_pb2.LookupRowsResponse(
            hit_positions=[0, 2], bodies=[b"{}", b"[]"], vectors=[b"", b"v"], read_token=b"t"
        )
    )
    assert (found.is_available, found.read_token) == (True, b"t")
    assert found.hits == {0: (b"{}", b""), 2: (b"[]", b"v")}


def test_columns_that_differ_in_length_say_nothing() -> None:
    answer = cache_pb2.LookupRowsResponse(hit_positions=[0, 1], bodies=[b"{}"], vectors=[b""])
    found = lookup_of(answer)
    assert (found.is_available, found.hits, found.read_token) == (False, {}, b"")


@pytest.mark.parametrize(
    ("kind", "names", "flags"),
    [
        (LookupKind(BOOKS), [], (False, False)),
        (LookupKind(BOOKS, ()), [], (True, False)),
        (LookupKind(BOOKS, ("a", "b"), with_vectors=True), ["a", "b"], (False, True)),
    ],
)
def test_a_request_tells_which_part_of_each_row_is_wanted(
    kind: LookupKind, names: list[str], flags: tuple[bool, bool]
) -> None:
    request = request_of(kind, [b"sa"])
    assert (request.namespace, list(request.ids)) == ("books", [b"sa"])
    assert list(request.attribute_names) == names
    assert (request.ids_only, request.with_vectors) == flags
