"""A store that answers legs as a script says."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import msgspec

from layer_gateway.application.cuts import Cut
from layer_gateway.application.facts import Facts
from layer_gateway.application.legs import Leg, LegAnswer, RunLegs
from layer_gateway.application.plans import MakePlans
from layer_gateway.application.sharding import Shards
from layer_gateway.application.stamps import Stamps
from layer_gateway.application.strong import StrongNamespaces
from layer_gateway.application.watched import WatchSettings
from layer_gateway.application.watermarks import Watermarks
from layer_gateway.ports.stores import Caller, Headers, Store, StoreAnswer
from layer_kit.names import Namespace
from layer_wire.jsontext import raw

TOOLS = Namespace("tools")
STAMPED = {"id": "string", "_hevlayer_upserted_at": "int", "_hevlayer_shard": "int"}
MARKER = {"id": "_hevlayer:namespace_meta", "_hevlayer_shard_count": 4}
USER = ["kind", "Eq", "saw"]
WATERMARK = ["_hevlayer_upserted_at", "Lte", 500]
BEHIND = Cut(stable_as_of_ms=500, is_updating=True)
STABLE = Cut(stable_as_of_ms=500)
ANN = ["vector", "ANN", [0.1, 0.2]]


@dataclass(frozen=True)
class Answer:
    status: int = 200
    body: bytes = b'{"rows":[]}'
    headers: Headers = ()


Script = Callable[[dict[str, Any]], StoreAnswer]


def rows(*found: object) -> Answer:
    return Answer(body=json.dumps({"rows": found}).encode())


@dataclass
class World:
    """A store that knows a schema and a marker, and answers legs as a script says."""

    script: Script = lambda _: rows()
    schema_types: dict[str, str] = field(default_factory=lambda: dict(STAMPED))
    schema_status: int = 200
    marker: dict[str, Any] | None = None
    stray: bool = False
    strong_patterns: str = ""
    now_s: float = 0.0
    asked: list[dict[str, Any]] = field(default_factory=list)
    """The queries of legs."""
    schemas_count: int = 0
    looks_count: int = 0
    """How often the index was looked at."""

    def __post_init__(self) -> None:
        store = cast("Store", self)

        def clock() -> float:
            return self.now_s

        shards = Shards(store, None, shard_count_default=16, monotonic=clock)
        self.watermarks = Watermarks(store, Stamps(lambda: 0), WatchSettings(), monotonic=clock)
        facts = Facts(store, shards, ttl_s=30.0, monotonic=clock)
        strong = StrongNamespaces(self.strong_patterns)
        self.plans = MakePlans(facts=facts, strong_namespaces=strong)
        self.run_legs = RunLegs(store=store, plans=self.plans, watermarks=self.watermarks)

    async def metadata(self, namespace: Namespace, caller: Caller) -> StoreAnswer:
        self.looks_count += 1
        return Answer(body=b'{"index":{"status":"up-to-date"}}')

    async def schema(self, namespace: Namespace, caller: Caller) -> StoreAnswer:
        self.schemas_count += 1
        return Answer(self.schema_status, json.dumps(self.schema_types).encode())

    async def query(self, namespace: Namespace, body: bytes, caller: Caller) -> StoreAnswer:
        query = json.loads(body)
        if query.get("filters") == ["id", "Eq", "_hevlayer:namespace_meta"]:
            return rows(self.marker) if self.marker else rows()
        if b'["_hevlayer_shard","Eq",null]' in body:
            return rows({"id": "stray"}) if self.stray else rows()
        self.asked.append(query)
        return self.script(query)

    async def run(self, rank_by: object = ANN, cut: Cut = STABLE, **fields: Any) -> LegAnswer:
        threads = fields.pop("threads", None)
        filter_ = raw(fields.pop("filter")) if "filter" in fields else None
        leg = Leg(rank_by=raw(rank_by), row_count=3, filter=filter_, **fields)
        return await self.run_legs(TOOLS, leg, cut, Caller(), threads=threads)

    def filters(self) -> list[Any]:
        return [query.get("filters") for query in self.asked]


def ids(answer: LegAnswer) -> list[object]:
    return [msgspec.json.decode(row["id"]) for row in answer.rows]
