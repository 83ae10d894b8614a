"""A write reads the same whether its long vectors are set aside or not."""

from __future__ import annotations

import base64
import json
import struct

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from layer_kit.errors import LayerError, MalformedRequestError
from layer_wire.long_vectors import without_long_vectors
from layer_wire.stamping import StampedWrite, stamp
from layer_wire.writes import decode_write

NUMBERS = [at / 1000 for at in range(-150, 150)]
PACKED = base64.b64encode(struct.pack("<301f", *NUMBERS, 1.0)).decode()

leaves = st.sampled_from([None, 1, "x", 'a "vector":"', NUMBERS, PACKED, {"vector": PACKED}])
vectors = st.sampled_from([[0.5], "AACAPw==", NUMBERS, PACKED, None])
rows = st.lists(
    st.fixed_dictionaries(
        {"id": st.integers(0, 9)},
        optional={"vector": vectors, "vectors": st.just([NUMBERS]), "a": leaves, "b": leaves},
    ),
    min_size=1,
    max_size=5,
)
separators = st.sampled_from([(",", ":"), (", ", ": "), (",\n", " :\n")])


@given(rows, rows, separators)
def test_a_write_is_stamped_with_every_value_where_it_was(
    upserts: list[dict[str, object]],
    patches: list[dict[str, object]],
    separators: tuple[str, str],
) -> None:
    patches = [{key: row[key] for key in row if not key.startswith("vector")} for row in patches]
    body = {"patch_rows": patches, "upsert_rows": upserts}
    stamped = _stamped(json.dumps(body, separators=separators).encode())
    sent = msgspec.json.decode(b"".join(stamped.body))
    stamps = {"_hevlayer_upserted_at": 1, "_hevlayer_shard": 0}
    assert sent == {name: [row | stamps for row in rows] for name, rows in body.items()}
    for row, kept in zip(upserts, stamped.puts.vectors, strict=True):
        found = {key: row[key] for key in ("vector", "vectors") if row.get(key) is not None}
        assert (msgspec.json.decode(kept) if kept else {}) == found


@given(rows, st.data())
def test_a_write_that_is_cut_off_is_malformed(
    upserts: list[dict[str, object]], data: st.DataObject
) -> None:
    body = json.dumps({"upsert_rows": upserts}).encode()
    with pytest.raises(MalformedRequestError):
        decode_write(body[: data.draw(st.integers(1, len(body) - 1))])


@pytest.mark.parametrize(
    "vector",
    [
        json.dumps(NUMBERS)[:-1] + ",]",
        json.dumps(NUMBERS)[:-1] + ',"x"]',
        '"' + PACKED[:-2] + '"',
        '"' + PACKED[:-8] + '\\"AAAAAA"',
    ],
)
def test_a_long_value_that_is_no_vector_is_refused(vector: str) -> None:
    body = b'{"upsert_rows":[{"id":1,"vector":%b}]}' % vector.encode()
    with pytest.raises(LayerError):
        _stamped(body)


@pytest.mark.parametrize("opening", [b'"vector":[', b'"vector":[{', b'"vector":"\\'])
def test_a_body_of_nothing_but_openings_sets_nothing_aside(opening: bytes) -> None:
    body = opening * 500_000
    assert without_long_vectors(body) == (body, [])


def _stamped(body: bytes) -> StampedWrite:
    write = decode_write(body)
    assert write is not None
    return stamp(write, upserted_at_ms=1, shard_count=1, id_kind=None)
