"""Merging rows of many namespaces, and whether a query means anything in one of them."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from layer_gateway.adapters.embedding_profiles import read_profiles
from layer_gateway.application.facts import bare_schema
from layer_gateway.domain.federation import (
    BestRows,
    Downgrade,
    EmbeddingProfile,
    MergeMethod,
    choose_merge,
)
from layer_gateway.domain.filter_fit import misfit
from layer_kit.configuration import ConfigurationError
from layer_kit.names import Namespace
from layer_wire.jsontext import RawObject, decode_object, raw
from layer_wire.vectors import vector_dimension

SMALL = EmbeddingProfile(
    model="small", normalization="l2", dimension=2, distance_metric="cosine_distance"
)
LARGE = EmbeddingProfile(
    model="large", normalization="l2", dimension=2, distance_metric="cosine_distance"
)
TYPES = {
    "id": "string",
    "kind": "string",
    "rating": "int",
    "price": "float",
    "made": "datetime",
    "sold": "bool",
    "tags": "[]string",
    "text": "string",
    "vector": "[2]f32",
}
NAMES = st.sampled_from(["a", "b", "c"])
DISTANCES = st.sampled_from([0.0, 0.25, 0.5, 1.0])
IDS = st.integers(0, 5) | st.sampled_from("xyz")


def row(id_: object, distance: float) -> RawObject:
    return {"id": raw(id_), "$dist": raw(distance)}


@pytest.mark.parametrize(
    ("profiles", "is_by_distance", "method", "downgrade"),
    [
        ([SMALL, SMALL], True, MergeMethod.DISTANCE, None),
        ([SMALL, None], True, MergeMethod.RANK_INTERLEAVE, Downgrade.MISSING_PROFILE),
        ([SMALL, LARGE], True, MergeMethod.RANK_INTERLEAVE, Downgrade.PROFILE_MISMATCH),
        ([SMALL, SMALL], False, MergeMethod.RANK_INTERLEAVE, None),
        ([None, LARGE], False, MergeMethod.RANK_INTERLEAVE, None),
    ],
)
def test_distances_compare_only_between_equal_profiles(
    profiles: list[EmbeddingProfile | None],
    *,
    is_by_distance: bool,
    method: MergeMethod,
    downgrade: Downgrade | None,
) -> None:
    merge = choose_merge(profiles, is_by_distance=is_by_distance)
    assert (merge.method, merge.downgrade) == (method, downgrade)


@given(
    found=st.dictionaries(
        NAMES.map(Namespace), st.lists(st.tuples(IDS, DISTANCES), max_size=5), max_size=3
    ),
    method=st.sampled_from(MergeMethod),
    top_k=st.integers(1, 12),
)
def test_merging_orders_by_distance_or_rank_then_namespace_then_id(
    found: dict[Namespace, list[tuple[int | str, float]]], method: MergeMethod, top_k: int
) -> None:
    ranked = {name: sorted(rows, key=lambda one: one[1]) for name, rows in found.items()}
    everything = [
        (
            distance if method is MergeMethod.DISTANCE else rank,
            name,
            isinstance(id_, str),
            id_,
            rank,
        )
        for name, rows in ranked.items()
        for rank, (id_, distance) in enumerate(rows, start=1)
    ]
    best = BestRows(method, top_k)
    for name, rows in ranked.items():
        best.add(name, [row(*one) for one in rows])
    merged = best.rows()
    read = [{key: msgspec.json.decode(value) for key, value in one.items()} for one in merged]
    told = [(one["$namespace"], one["id"]) for one in read]
    assert told == [(name, id_) for _, name, _, id_, _ in sorted(everything)[:top_k]]
    for one in read:
        place = ranked[one["$namespace"]][one["$rank"] - 1]
        assert place == (one["id"], one["$dist"])


@pytest.mark.parametrize(
    "filter_",
    [
        None,
        ["kind", "Eq", "saw"],
        ["kind", "Eq", None],
        ["rating", "In", [1, None, 3.0]],
        ["price", "Lt", 3],
        ["made", "Gte", "2026-01-01"],
        ["made", "Gte", 0],
        ["sold", "NotEq", True],
        ["tags", "Contains", "wood"],
        ["tags", "ContainsAny", ["wood"]],
        ["tags", "Eq", ["wood", "hand"]],
        ["tags", "In", "wood"],
        ["text", "Fuzzy", "hand", {"max_edit_distance": []}],
        ["text", "ContainsAllTokens", "hand"],
        ["$dist", "Lt", 3],
        ["id", "Eq", 7],
        ["And", [["Not", ["kind", "Eq", "saw"]], ["Or", []]]],
        "no filter at all",
    ],
)
def test_what_may_fit_is_left_to_the_store(filter_: object) -> None:
    assert misfit(filter_, TYPES, {"text", "vector"}) is None


@pytest.mark.parametrize(
    ("filter_", "word"),
    [
        (["colour", "Eq", "red"], "not in the schema"),
        (["text", "Eq", "hand"], "not filterable"),
        (["vector", "Eq", 1], "not filterable"),
        (["kind", "Eq", 7], "type string"),
        (["kind", "Eq", ["saw"]], "type string"),
        (["rating", "Gt", "high"], "type int"),
        (["rating", "Gt", 2.5], "type int"),
        (["rating", "Gt", True], "type int"),
        (["price", "In", [1, "2"]], "type float"),
        (["sold", "Eq", 1], "type bool"),
        (["tags", "Contains", 7], "type []string"),
        (["rating", "Glob", "4*"], "type int"),
        (["Or", [["kind", "Eq", "saw"], ["Not", ["rating", "Eq", "x"]]]], "rating"),
    ],
)
def test_what_surely_does_not_fit_is_told(filter_: object, word: str) -> None:
    assert word in (misfit(filter_, TYPES, {"text", "vector"}) or "")


def test_a_schema_may_come_wrapped() -> None:
    bare = decode_object(b'{"id":"string","schema":{"type":"string"}}')
    assert bare_schema(bare) == bare
    assert bare_schema(decode_object(b'{"schema":{"type":"string"}}')).keys() == {"schema"}
    assert bare_schema(decode_object(b'{"schema":{"id":"string"}}')).keys() == {"id"}


@pytest.mark.parametrize(
    ("vector", "expected"),
    [
        (b"[1]", 1),
        (b"[ 0.5, 1e3 ,2]", 3),
        (b'"AAAAPwAAgL8="', 2),
        (b'["Embed","a"]', None),
        (b"[[1,2]]", None),
        (b"7", None),
    ],
)
def test_dimensions_are_counted_without_reading_the_numbers(
    vector: bytes, expected: int | None
) -> None:
    assert vector_dimension(msgspec.Raw(vector)) == expected


def test_profiles_are_read_as_an_index_declares_them(tmp_path: Path) -> None:
    path = tmp_path / "profiles.yaml"
    path.write_text("tools: {model: small, normalization: l2, outputDim: 2}")
    profiles = read_profiles(str(path))
    assert profiles.get(Namespace("tools")) == SMALL
    assert profiles.get(Namespace("parts")) is None
    assert read_profiles("").get(Namespace("tools")) is None


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("tools: {model: small}", "normalization"),
        ("tools: {model: a, normalization: b, outputDim: 0}", "outputDim"),
        ("tools: {model: a, normalization: b, outputDim: 1, more: 2}", "more"),
        ("[", "profiles"),
    ],
)
def test_profiles_that_make_no_sense_stop_the_start(tmp_path: Path, text: str, word: str) -> None:
    path = tmp_path / "profiles.yaml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=word):
        read_profiles(str(path))
    with pytest.raises(ConfigurationError, match="missing"):
        read_profiles(str(tmp_path / "missing.yaml"))
