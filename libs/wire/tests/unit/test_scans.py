"""What a scan may ask, and which field is named when it may not."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from layer_kit.errors import InvalidRequestError, LayerError, MalformedRequestError
from layer_wire.filters import Written
from layer_wire.jsontext import raw
from layer_wire.scans import (
    DistanceSelector,
    HybridSelector,
    Scan,
    ScanMode,
    ScanSource,
    TextSelector,
    parse_scan,
)

FTS = {"field": "text", "query": "saw"}
ANN = {"vector": [1.0, 2.0], "radius": 0.5}


def parse(**fields: Any) -> Scan:
    return parse_scan(msgspec.json.encode(fields))


def test_nothing_said_lists_ids_from_wherever_is_best() -> None:
    nulls = dict.fromkeys(("mode", "source", "filters", "fts", "threads", "page_size", "field"))

    assert parse() == parse(**nulls) == Scan()
    assert Scan().page_size == 1000
    assert (Scan().mode, Scan().source) == (ScanMode.IDS, ScanSource.AUTO)


def test_every_field_is_read() -> None:
    scan = parse(
        mode="values",
        source="origin",
        filters=["a", "Eq", 1],
        between=[5, 9],
        fts=FTS,
        field="kind",
        exhaustive=True,
        threads=3,
        page_size=10,
        timeout_seconds=7,
        unknown="is left alone",
    )

    assert scan == Scan(
        mode=ScanMode.VALUES,
        source=ScanSource.ORIGIN,
        filter=raw(["a", "Eq", 1]),
        written=Written(after_ms=5, until_ms=9),
        selector=TextSelector(field="text", query="saw"),
        field="kind",
        is_exhaustive=True,
        threads=3,
        page_size=10,
        timeout_s=7,
    )


def test_selectors_are_read_with_their_defaults() -> None:
    near = parse(mode="count", ann=ANN).selector
    alike = parse(mode="count", hybrid_text=FTS).selector
    strict = parse(mode="count", hybrid_text=FTS | {"fuzziness": 1}).selector

    assert isinstance(near, DistanceSelector)
    assert (near.field, near.radius, near.vector) == ("vector", 0.5, raw([1.0, 2.0]))
    assert isinstance(alike, HybridSelector)
    assert isinstance(strict, HybridSelector)
    assert (alike.edits_max, strict.edits_max) == (2, 1)


def test_numbers_beyond_their_bounds_are_cut() -> None:
    scan = parse(threads=99, timeout_seconds=4000)

    assert (scan.threads, scan.timeout_s) == (32, 300)


@pytest.mark.parametrize(
    ("fields", "reason", "named"),
    [
        ({"mode": "values"}, "FIELD_MISSING", "field"),
        ({"mode": "values", "field": "  "}, "FIELD_MISSING", "field"),
        ({"mode": "count", "field": "kind"}, "FIELD_UNUSED", "field"),
        ({"field": "kind"}, "FIELD_UNUSED", "field"),
        ({"fts": FTS}, "MODE_UNFIT", "mode"),
        ({"mode": "count", "fts": FTS, "ann": ANN}, "SELECTORS_TOO_MANY", "ann"),
        ({"mode": "count", "fts": FTS, "hybrid_text": FTS}, "SELECTORS_TOO_MANY", "hybrid_text"),
        ({"mode": "count", "fts": FTS, "source": "cache"}, "SOURCE_UNFIT", "source"),
        ({"mode": "count", "ann": ANN, "source": "snapshot"}, "SOURCE_UNFIT", "source"),
        ({"source": "snapshot"}, "SOURCE_UNFIT", "source"),
        ({"threads": 0}, "THREADS_RANGE", "threads"),
        ({"threads": -1}, "THREADS_RANGE", "threads"),
        ({"page_size": 0}, "PAGE_SIZE_RANGE", "page_size"),
        ({"page_size": 10_001}, "PAGE_SIZE_RANGE", "page_size"),
        ({"timeout_seconds": 0}, "TIMEOUT_RANGE", "timeout_seconds"),
        ({"as_of": 1, "between": [1, 2]}, "TIME_TWICE", "as_of"),
        ({"as_of": 2**63}, "TIME_RANGE", "as_of"),
        ({"between": [2, 2]}, "BETWEEN_ORDER", "between"),
        ({"mode": "count", "ann": ANN | {"vector": None}}, "VECTOR_INVALID", "ann.vector"),
        ({"mode": "count", "ann": ANN | {"vector": []}}, "VECTOR_INVALID", "ann.vector"),
        ({"mode": "count", "ann": ANN | {"vector": "@"}}, "VECTOR_INVALID", "ann.vector"),
    ],
)
def test_what_does_not_fit_is_refused_by_the_name_of_the_field(
    fields: dict[str, Any], reason: str, named: str
) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        parse(**fields)

    assert (refused.value.reason, refused.value.metadata["field"]) == (reason, named)
    assert refused.value.http_status == 422


@pytest.mark.parametrize(
    "fields",
    [
        {"mode": "rows"},
        {"source": "upstream"},
        {"threads": "8"},
        {"threads": 1.5},
        {"page_size": None, "timeout_seconds": "1"},
        {"mode": "count", "fts": {"field": "text"}},
        {"mode": "count", "fts": {"field": "", "query": "x"}},
        {"mode": "count", "fts": {"field": "text", "query": "x" * 8193}},
        {"mode": "count", "ann": {"vector": [1.0]}},
        {"mode": "count", "ann": {"vector": [1.0], "radius": "near"}},
        {"mode": "count", "hybrid_text": FTS | {"fuzziness": 3}},
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_by_its_place(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError, match=r"\$\."):
        parse(**fields)


@pytest.mark.parametrize(
    "body", [b"{", b"\xff", b'{"mode":"count","ann":{"vector":[1.0],"radius":1e999}}']
)
def test_what_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(LayerError) as refused:
        parse_scan(body)

    assert isinstance(refused.value, MalformedRequestError | InvalidRequestError)
