"""Pages of a namespace as a scripted store answers them, and which of them it was asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from layer_testing.scripted_store import Exchange, ScriptedStore, StoreRequest, answer

Answer = Callable[[dict[str, Any]], bytes]


def serve(store: ScriptedStore, name: str, respond: Answer, **types: str) -> None:
    """Answer the pages of a namespace; queries for its marker find none."""
    store.namespace(name, rows=(), **types)

    async def script(exchange: Exchange) -> None:
        body = exchange.request.json
        await exchange.say(answer({"rows": []}) if is_marker(body) else respond(body))

    store.answers[f"POST /v2/namespaces/{name}/query"] = script


def is_marker(body: dict[str, Any]) -> bool:
    return body.get("filters") == ["id", "Eq", "_hevlayer:namespace_meta"]


def pages(store: ScriptedStore, name: str) -> list[dict[str, Any]]:
    """Return the queries of a namespace, without the one for its marker."""
    asked: list[StoreRequest] = store.asked(f"POST /v2/namespaces/{name}/query")
    return [one.json for one in asked if not is_marker(one.json)]


def rows(*ids: str, **attributes: Any) -> bytes:
    return answer({"rows": [{"id": id_, **attributes} for id_ in ids]})


def at_page(*bodies: bytes) -> Answer:
    """Answer one page after the other."""
    left = list(bodies)
    return lambda _: left.pop(0)
