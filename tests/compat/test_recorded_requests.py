"""What the clients put on the wire, replayed byte for byte as they were recorded.

Each request meets a namespace of its own, made alike at the store for both ways; so both answers
must say the same, apart from what layer adds.
"""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Any

import httpx
import pytest

from layer_testing.system import LocalSystem

RECORDED = json.loads(Path(__file__).with_name("recorded_requests.json").read_text("utf-8"))
TEXT = {"type": "string", "full_text_search": True, "filterable": True}
ROWS = {
    "distance_metric": "cosine_distance",
    "schema": {
        **dict.fromkeys(("title", "content", "text", "t", "name"), TEXT),
        "ts": "datetime",
        "sv": {"type": "{}f16", "sparse_knn": {"distance_metric": "dot_product"}},
        "old": "string",
    },
    "upsert_rows": [
        {
            "id": number,
            "vector": [number / 10, 1 - number / 10],
            **dict.fromkeys(("title", "content", "text", "t", "name"), f"quick fox {number}"),
            "a": number % 2,
            "b": number,
            "c": "xy"[number % 2],
            "ts": f"2024-03-0{number}T00:00:00",
            "price": number * 1.5,
            "color": ["red", "blue"][number % 2],
            "tags": ["m", "n"][: number % 3],
            "version": number,
            "sv": {"d0": number / 4},
        }
        for number in range(1, 8)
    ],
}
TOKEN_ROWS = {
    "distance_metric": "cosine_distance",
    "schema": {"colbert": {"type": "[][2]f32", "ann": True}},
    "upsert_rows": [{"id": at, "colbert": [[0.1, at], [at, 0.2]]} for at in range(1, 4)],
}
PLAIN_ROWS = {
    "schema": {"old": "string"},
    "upsert_rows": [{"id": at, "version": at, "old": "x"} for at in range(1, 4)],
}
GIVEN = {"rows": ROWS, "token_rows": TOKEN_ROWS, "plain_rows": PLAIN_ROWS}
MOVING = (
    *("billing", "performance", "created_at", "updated_at", "last_write_at", "token"),
    "ground_truth",  # of queries that are drawn
)
REFUSED = (400, 422)
"""The gateway refuses with 422 what it checks before it asks the store."""


@pytest.mark.parametrize(
    "recorded",
    RECORDED["requests"],
    ids=[f"{each['client']}-{each['label']}" for each in RECORDED["requests"]],
)
def test_a_recorded_request_is_answered_alike(
    system: LocalSystem, recorded: dict[str, Any]
) -> None:
    direct, ours = (replay(system, url, recorded) for url in (system.store_url, system.url))

    if recorded["status"] in REFUSED:
        assert (direct.status_code, ours.status_code in REFUSED) == (recorded["status"], True)
        return
    assert (direct.status_code, ours.status_code) == (recorded["status"], recorded["status"])
    assert missing(direct.json(), ours.json()) == []


def replay(system: LocalSystem, url: str, recorded: dict[str, Any]) -> httpx.Response:
    name = f"recorded-{secrets.token_hex(6)}"
    given = GIVEN.get(recorded["given"])
    with httpx.Client(headers={"authorization": "Bearer any"}, timeout=60) as http:
        for namespace, body in ((name, given), (f"{name}-source", ROWS)):
            if body is not None and (namespace == name or recorded["given"] == "source"):
                written = http.post(f"{system.store_url}/v2/namespaces/{namespace}", json=body)
                assert written.status_code == 200, written.text
        path = recorded["path"].replace("{namespace}", name)
        content, headers = None, dict(RECORDED["headers"][recorded["client"]])
        if recorded["body"] is not None:
            text = json.dumps(recorded["body"], separators=(",", ":"), ensure_ascii=False)
            content = text.replace("{source}", f"{name}-source").encode()
            headers["content-type"] = "application/json"
        query = f"?{recorded['query']}" if recorded["query"] else ""
        answer = http.request(
            recorded["method"], f"{url}{path}{query}", content=content, headers=headers
        )
    answer.read()
    return httpx.Response(
        answer.status_code, text=answer.text.replace(name, "the-namespace"), request=answer.request
    )


def missing(wanted: Any, found: Any, path: str = "") -> list[str]:
    """Return where ``found`` lacks what is ``wanted``; more keys than wanted are fine."""
    match wanted, found:
        case dict(), dict():
            return [
                problem
                for key, value in wanted.items()
                if key not in MOVING
                for problem in missing(value, found.get(key), f"{path}.{key}")
            ]
        case list(), list() if len(wanted) == len(found):
            return [
                problem
                for index, pair in enumerate(zip(wanted, found, strict=True))
                for problem in missing(*pair, f"{path}[{index}]")
            ]
        case _:
            return [] if wanted == found else [f"{path}: {wanted!r} is {found!r}"]
