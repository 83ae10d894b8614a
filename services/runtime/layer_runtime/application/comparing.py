"""Comparisons of candidates with their functions: how often both gave a row the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final

from layer_kit.names import parse_namespace
from layer_runtime.application.candidates import Candidates
from layer_runtime.application.function_registry import Status
from layer_runtime.domain.items import ItemKey, Row, Value
from layer_runtime.domain.markers import Condition, candidate_output, markers_of
from layer_runtime.ports.functions import Function
from layer_runtime.ports.rows import Rows

ROWS_DEFAULT: Final = 10_000
ROWS_MAX: Final = 100_000
SAMPLE_DEFAULT: Final = 10
SAMPLE_MAX: Final = 100
PAIRS_SHOWN_MAX: Final = 100
PAIRS_COUNTED_MAX: Final = 10_000
PAGE_SIZE: Final = 500

Pair = tuple[Value | None, Value | None]
"""The value of a function, and that of its candidate."""


@dataclass(slots=True, kw_only=True)
class Agreement:
    """How often an output agrees."""

    compared_count: int = 0
    agreed_count: int = 0
    pairs: Counter[Pair] = field(default_factory=Counter)


@dataclass(slots=True, kw_only=True)
class Comparison:
    """How a candidate differs from its function."""

    live: Function
    candidate: Status
    compared_count: int = 0
    agreed_count: int = 0
    is_truncated: bool = False
    outputs: dict[str, Agreement] = field(default_factory=dict)
    disagreements: list[tuple[ItemKey, str, Pair]] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareCandidate:
    """Compares."""

    candidates: Candidates
    rows: Rows

    async def __call__(
        self, function_id: str, *, namespace: str, row_count_max: int, sample_count_max: int
    ) -> Comparison:
        """Compare the rows that both have processed; errors as for ``Candidates.get``.

        Args:
            row_count_max: 0 means 10,000.
            sample_count_max: Disagreements to return; 0 means 10, less means none.
        """
        live, status = await self.candidates.both(function_id)
        candidate = status.function
        name = parse_namespace(namespace)
        most = min(max(row_count_max, 0) or ROWS_DEFAULT, ROWS_MAX)
        sample = min(sample_count_max or SAMPLE_DEFAULT, SAMPLE_MAX)
        found = Comparison(live=live, candidate=status)
        found.outputs = {output: Agreement() for output in candidate.outputs}
        types = await self.rows.types(name)
        markers = [(markers_of(one.id).version, one.spec.version) for one in (live, candidate)]
        if any(marker not in types for marker, _ in markers):
            return found
        condition: Condition = ["And", [[marker, "Eq", version] for marker, version in markers]]
        names = {output: candidate_output(live.id, output) for output in candidate.outputs}
        wanted = [n for pair in names.items() for n in pair if n in types]
        stream = self.rows.stream(
            name, own_filter=b"", condition=condition, names=wanted, page_size=PAGE_SIZE
        )
        async with aclosing(stream):
            async for page in stream:
                for row in page:
                    if found.compared_count == most:
                        found.is_truncated = True
                        return found
                    _compare(found, ItemKey(name, row.id), row, names, sample)
        return found


def _compare(
    found: Comparison, key: ItemKey, row: Row, names: Mapping[str, str], sample: int
) -> None:
    found.compared_count += 1
    is_same = True
    for output, name in names.items():
        pair = row.attributes.get(output), row.attributes.get(name)
        agreement = found.outputs[output]
        if pair in agreement.pairs or len(agreement.pairs) < PAIRS_COUNTED_MAX:
            agreement.pairs[pair] += 1
        if None not in pair:
            agreement.compared_count += 1
            agreement.agreed_count += pair[0] == pair[1]
        if pair[0] != pair[1]:
            is_same = False
            if len(found.disagreements) < sample:
                found.disagreements.append((key, output, pair))
    found.agreed_count += is_same
