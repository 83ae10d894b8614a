"""Streams of requests on one connection, of every kind that its edge serves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Final

from layer_gateway_testing.moody_store import (
    ELSEWHERE,
    KEPT,
    KEPT_IDS,
    MOOD_NUMBERS,
    NAMES,
    PASSED_ON,
)
from layer_gateway_testing.stream_framings import FRAMINGS

BODY_BYTES: Final = (700, 996, 997, 998, 999, 1000, 1001, 1002, 3000, 9998, 9999, 10_000, 10_001)
"""How long queries are: on both sides of where their length takes another digit."""
QUERY_BYTES_MAX: Final = 40_000
"""What the gateway under test takes of a query."""
LONG_FILTER_BYTES: Final = 3000
"""Too long for the query around a vector to be remembered."""
LARGE_WRITE_BYTES: Final = 200_000
RUN_MAX: Final = 6
"""How many requests of a kind may follow one another."""
NUMBER_BYTES_MAX: Final = 14
USUAL_MOOD_SHARE: Final = 0.6
USUAL_AFTER_SHARE: Final = 0.5
RESIZED_SHARE: Final = 0.2
ENDED_SHARE: Final = 0.4
UNSAFE_MOODS: Final = frozenset({"and close unsaid"})
"""After which a request that may not be sent twice may fail, or not."""


@dataclass(frozen=True, slots=True)
class Sent:
    """One request.

    Attributes:
        text: Its bytes; those of the head first.
        written: What identifies it to the store, if it is a write.
    """

    kind: str
    text: bytes
    method: str = "POST"
    request_id: str | None = None
    written: str | None = None

    @property
    def head_bytes(self) -> int:
        return self.text.find(b"\r\n\r\n") + 4


class Streams:
    """Makes up streams.

    Args:
        is_idempotent: Whether to send nothing that may not be sent twice, to a store that closes
            its connections when it likes.
    """

    def __init__(self, chance: Random, key: str, *, is_idempotent: bool) -> None:
        self._chance = chance
        self._key = key
        self._is_idempotent = is_idempotent
        self._made_count = 0
        self._moods = [name for name in MOOD_NUMBERS if is_idempotent or name not in UNSAFE_MOODS]
        self._makers = {
            "plain": (self._query, 8),
            "damaged": (self._damaged, 2),
            "fetch": (self._fetch, 2),
            "public": (self._public, 1),
            "refused": (self._refused, 1),
            "odd": (self._odd_framing, 2),
            "get": (self._passed_on, 1),
        }
        if not is_idempotent:
            self._makers |= {"native": (self._native, 3), "write": (self._write, 1)}

    def stream(self, count: int) -> list[Sent]:
        """Return about so many requests; the last one may end the connection."""
        chance, found = self._chance, list[Sent]()
        names = list(self._makers)
        weights = [weight for _, weight in self._makers.values()]
        while len(found) < count:
            make = self._makers[chance.choices(names, weights)[0]][0]
            found += make(chance.choice((1, 1, 2, 3, RUN_MAX)))
        if chance.random() < ENDED_SHARE:
            found.append(self._last())
        return found

    def _head(self, body: bytes, target: str, *lines: str, method: str = "POST") -> bytes:
        fields = [
            f"{method} {target} HTTP/1.1",
            "host: edge.test",
            f"authorization: Bearer {self._key}",
        ]
        if body:
            fields += ["content-type: application/json", f"content-length: {len(body)}"]
        return "\r\n".join((*fields, *lines, "", "")).encode() + body

    def _variant(self) -> tuple[str, ...]:
        """Return lines that make another head of the usual one, mostly none."""
        lines = ("accept: */*",), ("x-note: a", "user-agent: test"), ("Connection: keep-alive",)
        return self._chance.choice(((), (), (), *lines))

    def _vector(self, size_bytes: int) -> str:
        """Return a list of numbers of a certain length, the first of which tells the mood."""
        chance, usual = self._chance, self._chance.random() < USUAL_MOOD_SHARE
        mood = MOOD_NUMBERS["rows" if usual else chance.choice(self._moods)]
        numbers = [str(mood)]
        left_bytes = size_bytes - len(numbers[0]) - 2
        while left_bytes > NUMBER_BYTES_MAX:
            number = chance.choice(
                (f"{chance.uniform(-9, 9):.{chance.randrange(1, 9)}f}", f"{chance.randrange(99)}")
            )
            numbers.append(number)
            left_bytes -= len(number) + 1
        return "[" + ",".join(numbers) + "," + "1" * max(1, left_bytes - 1) + "]"

    def _shape(self) -> tuple[str, str, str]:
        """Return where a kind of plain queries goes, and what is around the vector in it."""
        chance = self._chance
        name = chance.choice((NAMES[0], *NAMES))
        after = chance.choice(
            (
                ', "top_k": 2}',
                ', "top_k": 3}',
                ',"top_k":2,"filters":["n","Eq",1]}',
                ',"top_k": 2, "include_attributes": ["title"]}',
                ',"top_k":2,"include_attributes":true}',
                ',"top_k":0}',
                ',"top_k":2,"filters":["n","Eq","%s"]}' % ("n" * LONG_FILTER_BYTES),
            )
        )
        return f"/v2/namespaces/{name}/query", '{"vector": ', after

    def _query(self, count: int) -> Iterator[Sent]:
        target, before, after = self._shape()
        yield from self._queries("plain", target, before, after, count)

    def _native(self, count: int) -> Iterator[Sent]:
        before = '{"aggregate_by":{"n":["Count"]},"rank_by":["vector","ANN",'
        target = f"/v2/namespaces/{NAMES[0]}/query"
        yield from self._queries("native", target, before, '],"limit":2}', count)

    def _queries(
        self, kind: str, target: str, before: str, after: str, count: int
    ) -> Iterator[Sent]:
        variant, size_bytes = self._variant(), self._chance.choice(BODY_BYTES)
        for _ in range(count):
            if self._chance.random() < RESIZED_SHARE:
                size_bytes = self._chance.choice(BODY_BYTES)
            numbers = self._vector(size_bytes - len(before) - len(after))
            yield Sent(kind, self._head((before + numbers + after).encode(), target, *variant))

    def _damaged(self, count: int) -> Iterator[Sent]:
        """Yield queries between which is one that is like them but for what matters."""
        chance = self._chance
        target, before, after = self._shape()
        variant = self._variant()
        for at in range(count + 1):
            numbers = self._vector(chance.choice(BODY_BYTES))
            if at % 2:
                place = chance.randrange(len(numbers) // 2, len(numbers))
                harm = chance.choice(
                    (
                        "]",
                        "[",
                        '"',
                        "{}",
                        "null",
                        ",",
                        "1e",
                        '"a"',
                        "], [",
                        "x",
                        '],"top_k":1,"a":[',
                    )
                )
                numbers = numbers[:place] + harm + numbers[place:]
            text = self._head((before + numbers + after).encode(), target, *variant)
            yield Sent("damaged" if at % 2 else "plain", text)

    def _fetch(self, count: int) -> Iterator[Sent]:
        chance, path = self._chance, f"/v2/namespaces/{KEPT}/documents"
        for _ in range(count):
            ids = chance.sample((*KEPT_IDS, "no-1", "no-2"), chance.randrange(1, 4))
            way = chance.choice(("one", "one", "many", "head"))
            if way == "many":
                yield Sent("fetch many", self._head(json.dumps({"ids": ids}).encode(), path))
            else:
                method = "HEAD" if way == "head" else "GET"
                text = self._head(b"", f"{path}/{ids[0]}", method=method)
                yield Sent(f"fetch {way}", text, method)

    def _public(self, count: int) -> Iterator[Sent]:
        for _ in range(count):
            method = self._chance.choice(("GET", "HEAD"))
            text = f"{method} /health HTTP/1.1\r\nhost: edge.test\r\n\r\n".encode()
            yield Sent("public", text, method)

    def _passed_on(self, count: int) -> Iterator[Sent]:
        methods = ("GET", "HEAD") if self._is_idempotent else ("GET", "HEAD", "POST")
        for _ in range(count):
            method = self._chance.choice(methods)
            name = self._chance.choice(tuple(PASSED_ON))
            body = b"{}" if method == "POST" else b""
            yield Sent(
                f"{method} {name}", self._head(body, ELSEWHERE + name, method=method), method
            )

    def _write(self, count: int) -> Iterator[Sent]:
        for _ in range(count):
            self._made_count += 1
            name = f"w-{self._made_count}-{self._chance.randrange(10**9)}"
            text = "t" * self._chance.choice((1, 3000, LARGE_WRITE_BYTES))
            rows = [{"id": name, "vector": [0.5, 1], "title": text}]
            body = json.dumps({"upsert_rows": rows}).encode()
            sent = self._head(body, f"/v2/namespaces/{NAMES[1]}")
            yield Sent("write", sent, written=name)

    def _refused(self, count: int) -> Iterator[Sent]:
        target = f"/v2/namespaces/{NAMES[0]}/query"
        usual = self._head(b'{"vector": %b, "top_k": 2}' % self._vector(900).encode(), target)
        bearer = f"authorization: Bearer {self._key}\r\n".encode()
        large = b'{"vector": %b, "top_k": 2}' % self._vector(QUERY_BYTES_MAX).encode()
        kinds = {
            "no key": usual.replace(bearer, b""),
            "wrong key": usual.replace(bearer, b"authorization: Bearer no\r\n"),
            "no JSON": self._head(b'{"vector": ', target),
            "no vector": self._head(b'{"vector": [], "top_k": 2}', target),
            "other type": usual.replace(b"application/json", b"text/plain"),
            "too large": self._head(large, target),
            "not there": self._head(b"", "/v2/namespaces/%20/query", method="GET"),
        }
        for _ in range(count):
            kind = self._chance.choice(tuple(kinds))
            yield Sent(kind, kinds[kind], "GET" if kind == "not there" else "POST")
            if self._chance.random() < USUAL_AFTER_SHARE:
                yield Sent("plain", usual)

    def _odd_framing(self, count: int) -> Iterator[Sent]:
        """Yield plain queries whose framing is not the usual one, between some that are usual."""
        chance = self._chance
        target, before, after = self._shape()
        for _ in range(count):
            body = (before + self._vector(chance.choice(BODY_BYTES)) + after).encode()
            usual = self._head(body, target)
            yield Sent("plain", usual)
            kind = chance.choice(tuple(FRAMINGS))
            self._made_count += 1
            request_id = f"id-{self._made_count}" if kind == "named" else None
            text = FRAMINGS[kind](usual[: -len(body)], body)
            if request_id:
                text = text.replace(b"x-request-id: one", f"x-request-id: {request_id}".encode())
            yield Sent(kind, text, request_id=request_id)

    def _last(self) -> Sent:
        target, before, after = self._shape()
        usual = self._head((before + self._vector(900) + after).encode(), target)
        kinds = {
            "close": usual.replace(b"host:", b"connection: close\r\nhost:", 1),
            "old": usual.replace(b"HTTP/1.1", b"HTTP/1.0"),
            "garbage": b"NO HTTP\r\n\r\n",
            "two lengths": usual.replace(b"content-length", b"content-length: 1\r\ncontent-length"),
            "not a length": usual.replace(b"content-length: ", b"content-length: +"),
        }
        kind = self._chance.choice(tuple(kinds))
        return Sent(kind, kinds[kind])
