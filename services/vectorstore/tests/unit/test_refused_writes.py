from __future__ import annotations

from typing import Any

import pytest

from layer_kit.errors import LayerError


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ([], 422, "expected a map"),
        ({"upsert_rows": {}}, 422, "upsert_rows: invalid type: map, expected a sequence"),
        ({"upsert_rows": [{"a": 1}]}, 422, "upsert_rows[0]: missing field `id`"),
        (
            {"upsert_rows": [{"id": -1}]},
            422,
            "upsert_rows[0].id: data did not match any variant of untagged enum Id",
        ),
        ({"upsert_rows": [{"id": 1.5}]}, 422, "untagged enum Id"),
        ({"upsert_rows": [{"id": True}]}, 422, "untagged enum Id"),
        ({"deletes": [None]}, 422, "untagged enum IdVec"),
        ({"upsert_rows": [], "distance_metric": "dot"}, 422, "unknown variant `dot`"),
        ({"upsert_columns": {"id": [1], "a": [1, 2]}}, 400, "same length"),
        (
            {"upsert_rows": [{"id": "a"}]},
            400,
            (
                "💔 namespace ID type is uint, but you sent string; "
                "you are not allowed to mix ID types in the same namespace"
            ),
        ),
        (
            {"upsert_rows": [{"id": 5}, {"id": 5}]},
            400,
            "💔 This upsert contains duplicate document IDs and was not written.",
        ),
        ({"upsert_rows": [{"id": 5}], "deletes": [5]}, 400, "duplicate document IDs"),
        (
            {"upsert_rows": [{"id": 5, "s": 3}]},
            400,
            (
                "🙅 invalid schema update for attribute 's': "
                "cannot change attribute type from string to int"
            ),
        ),
        ({"schema": {"s": "int"}}, 400, "cannot change attribute type from string to int"),
        (
            {"schema": {"s": {"drop": True}}, "upsert_rows": [{"id": 5, "s": 3}]},
            400,
            "💔 attribute 's' cannot be dropped and written in the same request",
        ),
        (
            {"schema": {"s": {"drop": True}}, "patch_rows": [{"id": 1, "s": "y"}]},
            400,
            "cannot be dropped and written",
        ),
        ({"schema": {"id": "int"}}, 400, "💔 int is not a valid ID type"),
        (
            {"schema": {"v": {"type": "[2]f32"}}},
            400,
            "💔 vector attribute 'v' must have ann:true",
        ),
        ({"schema": {"s": {"filterable": True}}}, 422, "untagged enum AttributeSchemaInput"),
        ({"schema": {"s": {"type": "strin"}}}, 422, "untagged enum AttributeSchemaInput"),
        (
            {"schema": {"v": {"type": "[10753]f32", "ann": True}}},
            400,
            "💔 vectors must have 1 to 10752 dimensions",
        ),
        (
            {
                "upsert_rows": [{"id": 5, "e": {"x": None}}],
                "schema": {"e": {"type": "{}f16", "sparse_knn": True}},
            },
            400,
            "invalid value for attribute 'e': expected {}f16, but got '{\"x\": null}'",
        ),
        ({"upsert_rows": [{"id": 5, "$x": 3}]}, 400, "start with `$`"),
        ({"upsert_rows": [{"id": 5, "new": {}}]}, 400, "expected a scalar or an array"),
        ({"upsert_rows": [{"id": 5, "new": [None, [[]]]}]}, 400, "expected a scalar or an array"),
        ({"upsert_rows": [{"id": 5, "n": {}}]}, 400, "invalid value for attribute 'n'"),
        ({"upsert_rows": [{"id": 5, "n": 2**63}]}, 400, "invalid value for attribute 'n'"),
        ({"upsert_rows": [{"id": 5, "s": "x" * 5000}]}, 400, "filterable: false"),
        ({"copy_from_namespace": "a", "deletes": [1]}, 400, "cannot be used with other"),
        ({"upsert_rows": [{"id": 5}], "upsert_condition": ["zz", "Eq", 1]}, 400, "not found"),
        ({"encryption": {"mode": "customer-managed", "key_name": "k"}}, 400, "crypto key"),
        (
            {
                "copy_from_namespace": {
                    "source_namespace": "ns",
                    "dest_encryption": {"mode": "customer-managed", "key_name": "k"},
                }
            },
            400,
            "crypto key",
        ),
        (
            {"schema": {"t": {"type": "string", "full_text_search": {"k1": 0}}}},
            422,
            "schema.t.full_text_search.k1: invalid value `0`",
        ),
        ({"schema": {"e": {"type": "string", "embed": "model"}}}, 400, "hosted model"),
        ({"patch_by_filter": {"filters": ["s", "Eq", "x"], "patch": {"s": 5}}}, 400, "type"),
    ],
)
def test_a_wrong_write_is_refused_and_changes_nothing(
    store: Any, body: Any, status: int, message: str
) -> None:
    store.upsert({"id": 1, "s": "x", "n": 1})

    with pytest.raises(LayerError) as raised:
        store.write(body)

    assert (raised.value.http_status, message in raised.value.message) == (status, True)
    assert store.rows() == [{"id": 1, "s": "x", "n": 1}]


@pytest.mark.parametrize("kind", ["upsert_rows", "patch_rows", "deletes"])
def test_two_spellings_of_a_uuid_are_one_id(store: Any, kind: str) -> None:
    spelling = "6F9619FF-8B86-D011-B42D-00CF4FC964FF"
    store.upsert({"id": spelling, "n": 1}, schema={"id": "uuid"})
    respelled = spelling.lower() if kind == "deletes" else {"id": spelling.lower(), "m": 2}
    body: dict[str, Any] = {kind: [respelled]}
    body["patch_rows"] = [*body.get("patch_rows", ()), {"id": spelling, "n": 2}]

    with pytest.raises(LayerError, match="duplicate document IDs"):
        store.write(body)

    assert store.rows() == [{"id": spelling.lower(), "n": 1}]
