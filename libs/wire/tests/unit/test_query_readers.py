"""What a reader remembers of the query before must not change how the next one is read."""

from __future__ import annotations

import json
import random
from typing import Final

import pytest

from layer_wire.prepared import QueryAtHand, QueryReader, prepare

NUMBERS: Final = ", ".join(str(number / 7) for number in range(200))
BEFORE: Final = '{"top_k": 3, "vector": ['
AFTER: Final = '], "filters": ["price", "Lt", 5]}'
USUAL: Final = f"{BEFORE}{NUMBERS}{AFTER}".encode()
TRIALS_COUNT: Final = 3000

PARTS: Final = (
    "1", "-2.5e3", ",", " ", "]", "[", '"', "{", "}", "null", "0.5]", "[1", '"a]b"', "], [", "9",
)  # fmt: skip


def described(query: QueryAtHand | None) -> object:
    if query is None:
        return None
    numbers = None if query.numbers is None else bytes(query.numbers)
    return query.prepared.form, query.prepared.shape, query.fields, numbers


@pytest.mark.parametrize(
    "list_text",
    [
        NUMBERS,
        f"{NUMBERS}, 1",
        f"-{NUMBERS} \n",
        "1, 2",
        "",
        f"{NUMBERS}, [1], 2",
        f'{NUMBERS}, "1], [2", 3',
        f"{NUMBERS}], [{NUMBERS}",
        f"{NUMBERS}, null",
        f"null, {NUMBERS}",
        f"{NUMBERS}, {{}}, 1",
        f'{NUMBERS}], "nearest_to_id": [1',
    ],
)
def test_a_query_reads_as_it_would_alone(list_text: str) -> None:
    reader = QueryReader()
    body = f"{BEFORE}{list_text}{AFTER}".encode()
    for next_body in (USUAL, body, body, USUAL, body):
        assert described(reader.read(next_body)) == described(prepare(next_body))


def test_other_queries_take_the_place_of_the_one_before() -> None:
    reader = QueryReader()
    queries = (
        {"vector": json.loads(f"[{NUMBERS}]"), "top_k": 1},
        {"rank_by": ["vector", "ANN", json.loads(f"[{NUMBERS}]")], "top_k": 1},
        {"rank_by": ["id", "asc"], "limit": 2},
        {"vector": json.loads(f"[{NUMBERS}]"), "top_k": 2},
    )
    for query in (*queries, *reversed(queries)):
        body = json.dumps(query).encode()
        assert described(reader.read(body)) == described(prepare(body))


def test_no_text_between_the_same_ends_reads_otherwise() -> None:
    rng = random.Random(11)  # noqa: S311 -- the same texts in every run
    reader = QueryReader()
    reader.read(USUAL)
    for _ in range(TRIALS_COUNT):
        at = rng.randrange(len(NUMBERS))
        inserted = "".join(rng.choices(PARTS, k=rng.randrange(4)))
        cut = NUMBERS[: rng.choice((3, at, len(NUMBERS)))]
        body = f"{BEFORE}{cut}{inserted}{NUMBERS[at:]}{AFTER}".encode()
        assert described(reader.read(b"head" + body, 4)) == described(prepare(body)), body
        reader.read(USUAL)
