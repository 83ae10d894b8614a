"""Ids: one canonical form each, the shards of the contract, and path texts."""

from __future__ import annotations

import pytest

from layer_kit.errors import InvalidRequestError
from layer_wire.ids import IdKind, canonical, canonical_texts, from_text, shards


def test_shards_are_those_of_the_contract() -> None:
    ids = ["t-1", "t-2", "t-3", "t-4", "t-5", "t-6", "é-1", "_hevlayer:namespace_meta", "m-1#0"]
    assert shards(ids, 16) == [10, 9, 14, 8, 6, 7, 4, 2, 9]
    assert shards(ids[:6], 4) == [2, 1, 2, 0, 2, 3]
    assert shards([42], 16) == shards(["42"], 16) == [9]


def test_a_number_and_its_digits_are_different_ids() -> None:
    assert canonical(42) != canonical("42")


@pytest.mark.parametrize(
    "texts", [["a"], ["a", "", "7"], ["é\n", "b"], ["a\0b"], ["a\0sb", "\0", "c"]]
)
def test_strings_have_the_same_form_together_as_each_alone(texts: list[str]) -> None:
    assert canonical_texts(texts) == [canonical(text, IdKind.STRING) for text in texts]


def test_a_string_is_a_uuid_only_where_ids_are_uuids() -> None:
    text = "{A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11}"
    assert canonical(text) == b"s" + text.encode()
    assert canonical(text, IdKind.UUID) == b"ga0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"
    with pytest.raises(InvalidRequestError):
        canonical("no uuid", IdKind.UUID)


@pytest.mark.parametrize(
    ("text", "kind", "expected"),
    [
        ("42", IdKind.STRING, "42"),
        ("42", IdKind.UNSIGNED, 42),
        ("18446744073709551615", IdKind.UNSIGNED, 2**64 - 1),
        ("18446744073709551616", IdKind.UNSIGNED, None),
        ("-1", IdKind.UNSIGNED, None),
        ("4.0", IdKind.UNSIGNED, None),
        ("٤", IdKind.UNSIGNED, None),
        ("abc", IdKind.UNSIGNED, None),
        ("abc", IdKind.UUID, None),
        (
            "A0EEBC999C0B4EF8BB6D6BB9BD380A11",
            IdKind.UUID,
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        ),
    ],
)
def test_a_path_id_is_read_as_the_namespace_has_its_ids(
    text: str, kind: IdKind, expected: int | str | None
) -> None:
    assert from_text(text, kind) == expected
