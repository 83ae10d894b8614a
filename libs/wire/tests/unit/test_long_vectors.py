"""A write reads the same whether its long vectors are set aside or not."""

from __future__ import annotations

import base64
import json
import struct
from typing import Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from layer_kit.errors import LayerError, MalformedRequestError
from layer_kit.turns import Steps, at_once
from layer_wire import long_vectors, writes
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
    for row, kept in zip(upserts, stamped.puts.vector_objects(), strict=True):
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


def test_an_escaped_quote_does_not_end_a_vector() -> None:
    unended = "A" * 1599 + "\\"  # of the length of a vector
    with pytest.raises(MalformedRequestError):
        decode_write(f'{{"upsert_rows":[{{"id":1,"vector":"{unended}","b":"c"}}]}}'.encode())


@pytest.mark.parametrize(
    "earlier",
    [
        pytest.param("[" + "1," * 404 + "11]", id="numbers"),
        pytest.param(json.dumps(base64.b64encode(bytes(604)).decode()), id="padded base64"),
    ],
)
def test_the_length_of_one_vector_says_nothing_of_another_kind(earlier: str) -> None:
    later = json.dumps("A" * (len(earlier) - 2))
    rows = ",".join(f'{{"id":{at},"vector":{text}}}' for at, text in enumerate((earlier, later)))
    with pytest.raises(LayerError) as caught:
        _stamped(f'{{"upsert_rows":[{rows}]}}'.encode())
    assert caught.value.metadata["field"] == "upsert_rows[1].vector"


@pytest.mark.parametrize("opening", [b'"vector":[', b'"vector":[{', b'"vector":"\\'])
def test_a_body_of_nothing_but_openings_sets_nothing_aside(opening: bytes) -> None:
    body = opening * 500_000
    assert at_once(without_long_vectors(body)) == (body, [])


def test_vectors_of_one_length_are_set_aside_however_they_are_padded_and_spaced() -> None:
    for dimensions in (100, 101, 102):
        vector = base64.b64encode(bytes(4 * dimensions)).decode()
        for separators in ((",", ":"), (", ", ": ")):
            rows = [{"id": at, "vector": vector, "a": "\\"} for at in range(3)]
            body = json.dumps({"upsert_rows": rows}, separators=separators).encode()
            text, vectors = at_once(without_long_vectors(body))
            assert len(vectors) == len(rows)
            assert vector.encode() not in text


UNPADDED: Final = PACKED[: len(PACKED) // 16 * 16]
LONG: Final = {
    "@": json.dumps(PACKED),
    "$": json.dumps(UNPADDED),
    "%": f'"{UNPADDED[:-2]}\\/"',  # as long
    "^": f'"{UNPADDED[:-2]}\\q"',  # as long, and malformed
    "&": json.dumps(UNPADDED[:-16]),
    "#": json.dumps(NUMBERS),
    "~": "[0.5, 1]",
}
"""Stand for vectors while a test changes the text around them."""

values = st.sampled_from(
    [
        *("@", "@", "$", "$", "%", "^", "&", "#", "~", "1", "null", '"a"', '"@"'),
        *('{"vector":@}', "[@,#]", '{"b":\n1}', '"\\"vector\\":"', '" vector$'),
    ]
)
names = st.sampled_from(["vector", "vector", "vectors", "a", '\\"vector', "v\\u0065ctor", "id"])
spaces = st.sampled_from(["", "", " ", "\n"])
pairs = st.tuples(names, spaces, spaces, values).map(lambda four: '"{}"{}:{}{}'.format(*four))
objects = st.lists(pairs, max_size=4).map(lambda found: "{" + ",".join(['"id":1', *found]) + "}")
sections = st.one_of(
    st.lists(objects, min_size=1, max_size=3).map(lambda rows: f'"upsert_rows":[{",".join(rows)}]'),
    st.lists(objects, min_size=1, max_size=2).map(lambda rows: f'"patch_rows":[{",".join(rows)}]'),
    values.map(lambda value: f'"upsert_columns":{{"id":[1],"a":[{value}],"vector":[{value}]}}'),
    st.tuples(names, values).map(lambda pair: '"{}":{}'.format(*pair)),
)
bodies = st.lists(sections, min_size=1, max_size=3).map(lambda found: "{" + ",".join(found) + "}")


@given(
    bodies,
    st.lists(st.tuples(st.integers(0, 400), st.sampled_from('"\\{}[]:,@$# x'), st.booleans())),
    st.sampled_from([1, 700, 2000, 10_000]),
)
def test_setting_vectors_aside_changes_nothing_whatever_the_text_around_them(
    text: str, changes: list[tuple[int, str, bool]], step_bytes: int
) -> None:
    for at, mark, is_in_place in changes[:3]:
        place = at % (len(text) + 1)
        text = text[:place] + mark + text[place + is_in_place :]
    for mark, value in LONG.items():
        text = text.replace(mark, value)
    body = text.encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writes, "without_long_vectors", _nothing_set_aside)
        plainly = _outcome(body)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(long_vectors, "STEP_BYTES", step_bytes)
        assert _outcome(body) == plainly


def _nothing_set_aside(body: bytes) -> Steps[tuple[bytes, list[memoryview]]]:
    yield
    return body, []


def _outcome(body: bytes) -> object:
    """Return what is sent and kept, or why the body was refused."""
    try:
        write = decode_write(body)
        if write is None:
            return None
        stamped = at_once(stamp(write, upserted_at_ms=1, shard_count=4, id_kind=None))
    except LayerError as error:
        return error.reason, error.message
    puts, patches = stamped.puts, stamped.patches
    return (
        json.loads(b"".join(stamped.body), object_pairs_hook=list),
        [(puts.ids, puts.bodies), (patches.ids, patches.bodies), stamped.uncached],
        [json.loads(text) if text else None for text in puts.vector_objects()],
    )


def _stamped(body: bytes) -> StampedWrite:
    write = decode_write(body)
    assert write is not None
    return at_once(stamp(write, upserted_at_ms=1, shard_count=1, id_kind=None))
