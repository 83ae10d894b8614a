"""What functions can be told, which rows are due, and how long failures wait."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layer_kit.errors import InvalidRequestError
from layer_runtime.domain.functions import (
    ID_LENGTH_MAX,
    FunctionId,
    FunctionSpec,
    Retry,
    Schedule,
    Trigger,
    Worker,
    candidate_id,
    parse_function_id,
    parse_new_function_id,
)
from layer_runtime.domain.markers import candidate_output, due, is_due, markers_of
from layer_runtime.domain.spec_checks import check_outputs, check_spec

TAG_SIZE = FunctionId("tag-size")
NOW_MS = 1780000060000


@pytest.mark.parametrize("text", ["", "a b", "a/b", "é", "x" * (ID_LENGTH_MAX + 1)])
def test_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        parse_function_id(text)
    assert caught.value.reason == "FUNCTION_ID_INVALID"


def test_ids_of_candidates_are_not_for_functions() -> None:
    assert parse_function_id("tag-size-candidate") == candidate_id(TAG_SIZE)
    with pytest.raises(InvalidRequestError):
        parse_new_function_id("tag-size-candidate")


def test_the_longest_marker_is_a_name_that_the_store_takes() -> None:
    longest = parse_new_function_id("x" * ID_LENGTH_MAX)
    assert len(markers_of(candidate_id(longest)).stale_after) == 128


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        (FunctionSpec(target_namespaces=("a b",)), "target_namespaces"),
        (FunctionSpec(target_namespaces=("n",) * 513), "target_namespaces"),
        (FunctionSpec(inputs=("",)), "inputs"),
        (FunctionSpec(inputs=("$dist",)), "inputs"),
        (FunctionSpec(inputs=("kind", "kind")), "inputs"),
        (FunctionSpec(inputs=tuple(f"i{at}" for at in range(129))), "inputs"),
        (FunctionSpec(version=""), "version"),
        (FunctionSpec(version="v" * 65), "version"),
        (FunctionSpec(triggers=()), "triggers"),
        (FunctionSpec(index_labels={"team": "x"}, triggers=(Trigger.WRITE,)), "triggers"),
        (FunctionSpec(index_labels={"team": "x"}, triggers=tuple(Trigger)), "triggers"),
        (FunctionSpec(invalidates=("tag-size",)), "invalidates"),
        (FunctionSpec(invalidates=("no id",)), "invalidates"),
        (FunctionSpec(worker=Worker(batch_size=0)), "worker.batch_size"),
        (FunctionSpec(worker=Worker(timeout_s=3601)), "worker.timeout_seconds"),
        (FunctionSpec(worker=Worker(port=65536)), "worker.port"),
        (FunctionSpec(worker=Worker(url="ftp://worker")), "worker.url"),
        (
            FunctionSpec(schedule=Schedule(discovery_interval_s=0)),
            "schedule.discovery_interval_seconds",
        ),
        (FunctionSpec(schedule=Schedule(lease_s=86401)), "schedule.lease_seconds"),
        (FunctionSpec(retry=Retry(attempt_count_max=0)), "retry.max_attempts"),
        (
            FunctionSpec(retry=Retry(backoff_initial_s=10, backoff_max_s=9)),
            "retry.max_backoff_seconds",
        ),
    ],
    ids=lambda found: found if isinstance(found, str) else "",
)
def test_a_refused_specification_names_its_field(spec: FunctionSpec, field: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        check_spec(TAG_SIZE, spec)
    assert caught.value.reason == "SPEC_INVALID"
    assert caught.value.metadata["field"] == f"spec.{field}"


def test_the_defaults_are_a_valid_specification() -> None:
    check_spec(TAG_SIZE, FunctionSpec())
    check_spec(TAG_SIZE, replace(FunctionSpec(), inputs=("id", "vector"), invalidates=("price",)))


def test_labels_select_for_sweeps_and_writes_trigger_where_namespaces_are_named() -> None:
    check_spec(TAG_SIZE, FunctionSpec(index_labels={"team": "x"}))
    named = FunctionSpec(target_namespaces=("n",), triggers=(Trigger.WRITE,))
    check_spec(TAG_SIZE, named)
    check_spec(TAG_SIZE, replace(named, index_labels={"team": "x"}))


@pytest.mark.parametrize(
    ("outputs", "is_accepted"),
    [
        (["size"], True),
        ([], False),
        (["vector"], False),
        (["id"], False),
        (["_hevlayer_x"], False),
        (["a", "a"], False),
    ],
)
def test_a_candidate_writes_attributes_of_its_own(outputs: list[str], is_accepted: bool) -> None:  # noqa: FBT001
    if is_accepted:
        check_outputs(outputs)
        return
    with pytest.raises(InvalidRequestError):
        check_outputs(outputs)


def test_an_output_of_a_candidate_is_kept_under_a_name_of_layers() -> None:
    assert candidate_output(TAG_SIZE, "size_class") == "_hevlayer_cand_tag_size_size_class"
    with pytest.raises(InvalidRequestError):
        candidate_output(TAG_SIZE, "x" * 110)


def test_which_rows_are_due_depends_on_what_the_schema_has() -> None:
    markers = markers_of(TAG_SIZE)
    version, stale = "_hevlayer_udf_tag_size_v", "_hevlayer_udf_tag_size_stale_after"
    assert (markers.version, markers.stale_after) == (version, stale)
    assert due(markers, "v2", now_ms=NOW_MS, attributes={"kind"}) is None
    assert due(markers, "v2", now_ms=NOW_MS, attributes={version}) == [version, "NotEq", "v2"]
    assert due(markers, "v2", now_ms=NOW_MS, attributes={version, stale}) == [
        "Or",
        [[version, "NotEq", "v2"], ["And", [[stale, "NotEq", None], [stale, "Lte", NOW_MS]]]],
    ]


@pytest.mark.parametrize(
    ("version", "stale_after", "expected"),
    [
        ("v2", None, False),
        ("v1", None, True),
        (None, None, True),
        ("v2", 1780000050000, True),
        ("v2", 1780000090000, False),
    ],
)
def test_a_row_is_judged_by_its_markers_as_the_store_would(
    version: str | None,
    stale_after: int | None,
    expected: bool,  # noqa: FBT001
) -> None:
    found = is_due("v2", now_ms=NOW_MS, version_found=version, stale_found=stale_after)
    assert found is expected


def test_pauses_double_up_to_their_bound() -> None:
    retry = Retry(backoff_initial_s=5, backoff_max_s=300)
    assert [retry.backoff_s(attempt) for attempt in range(1, 9)] == [
        5,
        10,
        20,
        40,
        80,
        160,
        300,
        300,
    ]


@given(
    initial_s=st.integers(1, 86_400), more_s=st.integers(0, 86_400), attempt=st.integers(1, 10**9)
)
def test_no_pause_is_outside_its_bounds(initial_s: int, more_s: int, attempt: int) -> None:
    retry = Retry(backoff_initial_s=initial_s, backoff_max_s=initial_s + more_s)
    assert initial_s <= retry.backoff_s(attempt) <= initial_s + more_s
