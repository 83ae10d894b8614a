"""Rows in memory, with stamps, conditional writes and faults, as the gateway would have them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from layer_kit.errors import UnavailableError
from layer_runtime.domain.items import Row, Scalar
from layer_runtime.domain.markers import PARENT, PLACE, STAMP, Condition
from layer_runtime.domain.selectors import IndexSelector
from layer_runtime.ports.rows import RowWrite

PAGES: Final = 3
"""Rows of a document, where items are documents."""


class Died(BaseException):
    """The process is gone; nothing after it runs."""


@dataclass(slots=True)
class MemoryRows:
    """Rows with stamps, conditional writes and faults."""

    marker: str
    is_grouped: bool = False
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    clock: int = 0
    fault: str = ""

    def put(self, id_: str, **attributes: object) -> None:
        """Replace a row, as an upsert does."""
        self.clock += 1
        self.rows[id_] = {**attributes, STAMP: self.clock}
        if self.is_grouped:
            at = int(id_.removeprefix("r"))
            self.rows[id_] |= {PARENT: f"d{at // PAGES}", PLACE: PAGES - at % PAGES}

    def patch(self, id_: str, **attributes: object) -> None:
        self.clock += 1
        self.rows[id_] |= {**attributes, STAMP: self.clock}

    async def types(self, namespace: str, *, having: str = "") -> Mapping[str, str]:
        return {
            "id": "string",
            "n": "int",
            "out": "string",
            self.marker: "string",
            STAMP: "uint",
            PARENT: "string",
            PLACE: "uint",
        }

    async def labelled(self, selector: IndexSelector) -> Sequence[str]:
        return ()

    async def lookup(
        self,
        namespace: str,
        ids: Sequence[str],
        *,
        names: Sequence[str] | None,
        scalars: Sequence[str],
    ) -> Mapping[str, Row]:
        self._maybe("away")
        return {id_: self._row(id_, scalars) for id_ in ids if id_ in self.rows}

    async def stream(
        self,
        namespace: str,
        *,
        own_filter: bytes,
        condition: Condition | None,
        names: Sequence[str] = (),
        scalars: Sequence[str] = (),
        after: str | None = None,
        page_size: int,
    ) -> AsyncGenerator[Sequence[Row]]:
        yield [
            self._row(id_, scalars)
            for id_, row in sorted(self.rows.items())
            if _holds(condition, id_, row)
        ]

    async def write(
        self,
        namespace: str,
        *,
        patches: Sequence[RowWrite] = (),
        upserts: Sequence[RowWrite] = (),
        condition: Condition | None,
        schema: Mapping[str, str],
    ) -> set[str]:
        self._maybe("away")
        written = set()
        for row in patches:
            if row.id in self.rows and _holds(condition, row.id, self.rows[row.id]):
                values = {name: value.decode() for name, value in row.attributes.items()}
                self.patch(row.id, **values, **row.marks)
                written.add(row.id)
        if self.fault == "dies after":
            raise Died
        self._maybe("lost")  # applied, and nobody hears of it
        if self.fault == "lost once":
            self.fault = ""
            raise UnavailableError("GATEWAY_DOWN", "The answer is lost.")
        return written

    async def erase(self, namespace: str, names: Sequence[str], where: Condition) -> None:
        raise NotImplementedError

    def _maybe(self, fault: str) -> None:
        if self.fault == fault:
            raise UnavailableError("GATEWAY_DOWN", "The gateway is away.")

    def _row(self, id_: str, scalars: Sequence[str]) -> Row:
        row = self.rows[id_]
        found: dict[str, Scalar] = {name: row.get(name) for name in scalars}
        values: dict[str, bytes] = {
            name: str(row[name]).encode() for name in ("n", "out") if name in row
        }
        return Row(id=id_, attributes=values, scalars=found)


def _holds(condition: object, id_: str, row: Mapping[str, Any]) -> bool:
    match condition:
        case None:
            return True
        case ["Or", [*parts]]:
            return any(_holds(part, id_, row) for part in parts)
        case ["And", [*parts]]:
            return all(_holds(part, id_, row) for part in parts)
        case ["id", "In", [*ids]]:
            return id_ in ids
        case [str(name), "In", [*values]]:
            return row.get(name) in values
        case [str(name), "NotEq", value]:
            return bool(row.get(name) != value)
        case [str(name), "Eq", value]:
            return bool(row.get(name) == value)
        case _:
            raise AssertionError(condition)
