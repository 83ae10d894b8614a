"""Keys by the letter, policies within their bounds, and what differs between two snapshots."""

from __future__ import annotations

import pytest

from layer_kit.errors import InvalidRequestError
from layer_kit.names import Namespace
from layer_snapshots.domain.content import Content, Field, Snapshot, ValueCount, body_of
from layer_snapshots.domain.differences import ValueChange, difference
from layer_snapshots.domain.keys import (
    SNAPSHOTS,
    SnapshotName,
    is_policy_key,
    namespace_in,
    namespace_of_policy,
    parse_sha,
    policy_key,
    snapshot_key,
    snapshot_name,
)
from layer_snapshots.domain.policy import Policy, check_policy, parse_span
from layer_snapshots_testing.client import TOOLS_SHA, WATERMARK_MS

TOOLS = Namespace("tools")


def snapshot(row_count: int, **fields: dict[str, int]) -> Snapshot:
    histograms = [
        Field(name, [ValueCount(v, n) for v, n in counts.items()])
        for name, counts in sorted(fields.items())
    ]
    return Snapshot(body_of("tools", 1, Content(histograms, [], row_count)), 0)


def test_a_key_is_that_of_the_worked_example() -> None:
    name = SnapshotName(WATERMARK_MS, TOOLS_SHA[:7])
    key = "snapshots/tools/1779999999500-377a8c3.json"

    assert snapshot_key(TOOLS, name) == key
    assert snapshot_name(key) == name
    assert snapshot_key(TOOLS, SnapshotName(7, "0000000")) == (
        "snapshots/tools/0000000000007-0000000.json"
    )


@pytest.mark.parametrize("name", ["tools", "...", "..a", "a.b", "x.json"])
def test_every_namespace_has_a_folder_and_a_file(name: str) -> None:
    key = snapshot_key(Namespace(name), SnapshotName(1, "abcdef0"))
    assert namespace_in(SNAPSHOTS, key) == name
    assert namespace_of_policy(policy_key(Namespace(name))) == name
    assert "/./" not in key
    assert "/../" not in key
    assert policy_key(Namespace(name)).count("/") == 1
    assert is_policy_key(policy_key(Namespace(name)))


@pytest.mark.parametrize("name", ["a b.json", "a/b.json", "tools.txt", ".json", "%2F.json"])
def test_what_is_no_policy_of_ours_is_left_alone(name: str) -> None:
    assert not is_policy_key(f"snapshot-policies/{name}")


@pytest.mark.parametrize(
    "text", ["", "377a8c", "377a8c3d", "g77a8c3", TOOLS_SHA + "0", "377a8c3\n"]
)
def test_what_is_no_hash_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        parse_sha(text)
    assert refused.value.reason == "SHA_INVALID"


@pytest.mark.parametrize(
    ("text", "span_ms"),
    [("5m", 300_000), ("1h30m", 5_400_000), ("90s", 90_000), ("7d", 604_800_000), ("1500ms", 1500)],
)
def test_spans_are_read(text: str, span_ms: int) -> None:
    assert parse_span(text, "interval") == span_ms


@pytest.mark.parametrize(
    ("policy", "field"),
    [
        (Policy(interval="5"), "interval"),
        (Policy(interval=""), "interval"),
        (Policy(interval="0s"), "interval"),
        (Policy(interval="31d"), "interval"),
        (Policy(interval="-5m"), "interval"),
        (Policy(interval="never"), "interval"),
        (Policy(retention="forever"), "retention"),
        (Policy(retention="1ms"), "retention"),
        (Policy(retention="999999w"), "retention"),
        (Policy(facetFields=("kind", "kind")), "facetFields"),
        (Policy(facetFields=("",)), "facetFields"),
        (Policy(facetFields=("id",)), "facetFields"),
        (Policy(facetFields=("$dist",)), "facetFields"),
        (Policy(facetFields=("x" * 129,)), "facetFields"),
        (Policy(facetFields=tuple(f"f{n}" for n in range(65))), "facetFields"),
    ],
)
def test_a_policy_that_cannot_be_kept_to_is_refused(policy: Policy, field: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        check_policy(policy)
    assert refused.value.reason == "POLICY_INVALID"
    assert refused.value.metadata["field"] == field


def test_a_policy_has_the_defaults_of_the_contract() -> None:
    policy = Policy()
    check_policy(policy)
    assert (policy.interval_ms, policy.retention_ms) == (300_000, None)


def test_a_difference_tells_values_that_are_new_gone_or_otherwise_often() -> None:
    old = snapshot(5, kind={"saw": 3, "drill": 1, "hoe": 1}, size={"s": 5}, gone={"x": 1})
    new = snapshot(7, kind={"saw": 5, "drill": 1, "axe": 1}, size={"s": 5}, come={"y": 1})

    found = difference(old, new)

    assert found.row_count_change == 2
    by_name = {field.name: field for field in found.fields}
    assert list(by_name) == ["come", "gone", "kind"]
    assert by_name["come"].is_added
    assert by_name["gone"].is_removed
    assert by_name["kind"].changes == [
        ValueChange("axe", 0, 1),
        ValueChange("hoe", 1, 0),
        ValueChange("saw", 3, 5),
    ]
    assert difference(old, new, ["size"]).fields == []
    assert difference(old, old).fields == []
