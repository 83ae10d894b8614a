"""A store whose answers to queries are of every kind, and follow from the query alone.

The first number of a query's vector tells which kind it is to be, so that the same query is
answered the same whenever it comes, in whichever way.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import Awaitable, Callable
from typing import Any, Final

from layer_gateway_testing.errand_calls import (
    compact,
    half_a_head,
    half_an_answer,
    hang_up,
    refusal,
)
from layer_testing.scripted_store import Exchange, Script, ScriptedStore, answer

NAMES: Final = ("moody", "other")
KEPT: Final = "kept"
"""The namespace of the rows that are fetched."""
KEPT_IDS: Final = tuple(f"k{at}" for at in range(8))
ELSEWHERE: Final = "/v1/elsewhere/"
"""Where requests are passed on to; what follows is a key of ``PASSED_ON``."""

LARGE_BYTES: Final = 1_300_000
"""Above what the gateway holds of an answer that it passes on."""
_FIRST_NUMBER: Final = re.compile(rb"\[\s*(\d+)")
_TITLE_BYTES_MAX: Final = 120
_SHORT_S: Final = 0.001
_LONG_S: Final = 0.02


def rows_for(body: bytes, **more: object) -> dict[str, Any]:
    """Return rows that no other query gets."""
    try:
        asked = json.loads(body)
        count = int(asked.get("limit") or asked.get("top_k") or 1)
    except (ValueError, TypeError, AttributeError):
        count = 1  # what is no query has come to be one for a moment
    digest = hashlib.sha256(body).digest()
    title = "t" * (digest[0] % _TITLE_BYTES_MAX)
    found = range(max(0, count - digest[1] % 2))
    name = digest.hex()[:12]
    return {
        "rows": [{"id": f"{name}-{at}", "$dist": at / 8, "title": title, **more} for at in found]
    }


async def _say_kept(exchange: Exchange, *pieces: bytes, pause_s: float = _SHORT_S) -> None:
    exchange.is_kept = True
    for at, piece in enumerate(pieces):
        if at:
            await asyncio.sleep(pause_s)
        await exchange.say(piece)


async def _rows(exchange: Exchange) -> None:
    await _say_kept(exchange, compact(rows_for(exchange.request.body)))


async def _other_head(exchange: Exchange) -> None:
    await _say_kept(exchange, compact(rows_for(exchange.request.body), x_own="1"))


async def _and_close(exchange: Exchange) -> None:
    await exchange.say(compact(rows_for(exchange.request.body), connection="close"))


async def _and_close_unsaid(exchange: Exchange) -> None:
    await exchange.say(compact(rows_for(exchange.request.body)))


async def _cut_in_the_head(exchange: Exchange) -> None:
    text = compact(rows_for(exchange.request.body))
    await _say_kept(exchange, text[:30], text[30:])


async def _cut_behind_the_head(exchange: Exchange) -> None:
    text = compact(rows_for(exchange.request.body))
    at = text.index(b"\r\n\r\n") + 4
    await _say_kept(exchange, text[:at], text[at:])


async def _in_pieces(exchange: Exchange) -> None:
    text = compact(rows_for(exchange.request.body))
    at = len(text) - 20
    await _say_kept(exchange, text[: at - 9], text[at - 9 : at], text[at:])


async def _late(exchange: Exchange) -> None:
    await asyncio.sleep(_LONG_S)
    await _rows(exchange)


async def _in_chunks(exchange: Exchange) -> None:
    text = json.dumps(rows_for(exchange.request.body), separators=(",", ":"))
    await _say_kept(exchange, *_chunks(text.encode()))


async def _after_a_hint(exchange: Exchange) -> None:
    hint = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"
    await _say_kept(exchange, hint, compact(rows_for(exchange.request.body)))


async def _hint_at_once(exchange: Exchange) -> None:
    hint = b"HTTP/1.1 100 Continue\r\n\r\n"
    await _say_kept(exchange, hint + compact(rows_for(exchange.request.body)))


async def _with_vectors(exchange: Exchange) -> None:
    await _say_kept(exchange, compact(rows_for(exchange.request.body, vector=[1])))


async def _with_more_behind(exchange: Exchange) -> None:
    await _say_kept(exchange, compact(rows_for(exchange.request.body)) + b"HTTP/1.1 200")


async def _large(exchange: Exchange) -> None:
    await _say_kept(exchange, compact(rows_for(exchange.request.body, text="l" * LARGE_BYTES)))


def _always(told: bytes) -> Script:
    async def say(exchange: Exchange) -> None:
        await _say_kept(exchange, told)

    return say


def _chunks(text: bytes) -> tuple[bytes, bytes]:
    head = (
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    first, rest = text[:5], text[5:]
    return (
        b"%b5\r\n%b\r\n" % (head, first),
        b"%x\r\n%b\r\n0\r\n\r\n" % (len(rest), rest),
    )


_NO_CONTENT: Final = b"HTTP/1.1 204 No Content\r\nx-own: 1\r\n\r\n"
_BLAMED: Final = answer({"error": "unknown attribute _hevlayer_upserted_at"}, 400)

Mood = Callable[[Exchange], Awaitable[None]]
MOODS: Final[dict[str, Mood]] = {
    "rows": _rows,
    "other head": _other_head,
    "and close": _and_close,
    "cut in the head": _cut_in_the_head,
    "cut behind the head": _cut_behind_the_head,
    "in pieces": _in_pieces,
    "late": _late,
    "in chunks": _in_chunks,
    "after a hint": _after_a_hint,
    "hint at once": _hint_at_once,
    "with vectors": _with_vectors,
    "with more behind": _with_more_behind,
    "large": _large,
    **{f"{status}": _always(refusal(status)) for status in (400, 404, 429, 500)},
    "blamed": _always(_BLAMED),
    "no content": _always(_NO_CONTENT),
    "no HTTP": _always(b"SSH-2.0-OpenSSH_9.6\r\n"),
    "hang-up": hang_up,
    "half an answer": half_an_answer,
    "half a head": half_a_head,
    "and close unsaid": _and_close_unsaid,
}
MOOD_NUMBERS: Final = {name: at for at, name in enumerate(MOODS)}
_BY_NUMBER: Final = tuple(MOODS.values())

PASSED_ON: Final[dict[str, bytes | Script]] = {
    "json": answer({"a": 1}),
    "nothing": answer(b""),
    "no-content": _NO_CONTENT,
    "not-modified": b"HTTP/1.1 304 Not Modified\r\netag: x\r\n\r\n",
    "moved": answer({}, 307, location="http://store.test/v2/elsewhere?a=b"),
    "chunks": _always(b"".join(_chunks(b'{"rows": [1, 2, 3]}'))),
    "large": answer(b"p" * LARGE_BYTES),
    "teapot": answer({"error": "tea"}, 418),
}
_HEAD_ALONE: Final = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 8\r\n\r\n"
)


async def _answer_query(exchange: Exchange) -> None:
    found = _FIRST_NUMBER.search(exchange.request.body)
    await _BY_NUMBER[int(found[1]) % len(_BY_NUMBER) if found else 0](exchange)


async def _answer_fetch(exchange: Exchange) -> None:
    """Answer what the cache has missed: nothing that it is asked for is there."""
    await _say_kept(exchange, compact({"rows": []}))


def make_moody(store: ScriptedStore) -> None:
    """Have a store answer in all these ways."""
    for name in NAMES:
        store.namespace(name, vector="[256]f32")
        store.answers[f"POST /v2/namespaces/{name}/query"] = _answer_query
    store.namespace(KEPT, title="string")
    store.answers[f"POST /v2/namespaces/{KEPT}/query"] = _answer_fetch
    for name in (*NAMES, KEPT):
        store.answers[f"GET /v2/namespaces/{name}/metadata"] = answer({})
    for name, told in PASSED_ON.items():
        store.answers[f"GET {ELSEWHERE}{name}"] = told
        store.answers[f"POST {ELSEWHERE}{name}"] = told
        store.answers[f"HEAD {ELSEWHERE}{name}"] = _HEAD_ALONE
