"""Candidates: another version of a function that runs beside it and keeps its outputs apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Final

from layer_kit.errors import (
    AlreadyExistsError,
    InvalidRequestError,
    NotFoundError,
    PreconditionError,
)
from layer_kit.names import parse_namespace
from layer_runtime.application.function_registry import RATE_WINDOW_S, Status
from layer_runtime.domain.functions import (
    FunctionSpec,
    Worker,
    candidate_id,
    check_outputs,
    check_spec,
    parse_new_function_id,
)
from layer_runtime.domain.items import ItemKey, Row, Scalar, Value
from layer_runtime.domain.markers import Condition, candidate_output, done, markers_of
from layer_runtime.ports.functions import Function, FunctionStore, ItemQueue, Rows, RowWrite

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
class Candidates:
    """Registers, compares, promotes and discards candidates."""

    functions: FunctionStore
    items: ItemQueue
    rows: Rows

    async def create(
        self,
        function_id: str,
        *,
        version: str,
        outputs: Sequence[str],
        inputs: Sequence[str],
        own_filter: bytes,
        worker: Worker | None,
        namespaces: Sequence[str],
    ) -> Status:
        """Register a candidate; what is empty or None is as of the function.

        Raises:
            InvalidRequestError: ``SPEC_INVALID``.
            AlreadyExistsError: ``CANDIDATE_EXISTS``.
            NotFoundError: ``FUNCTION_NOT_FOUND``.
        """
        live = await self.functions.get(parse_new_function_id(function_id))
        check_outputs(outputs)
        for output in outputs:
            candidate_output(live.id, output)
        spec = replace(
            live.spec,
            version=version,
            inputs=tuple(inputs) or live.spec.inputs,
            filter=own_filter or live.spec.filter,
            worker=worker or live.spec.worker,
            target_namespaces=tuple(namespaces) or live.spec.target_namespaces,
            invalidates=(),
        )
        name = candidate_id(live.id)
        check_spec(name, spec)
        if version == live.spec.version:
            raise InvalidRequestError(
                "SPEC_INVALID",
                f"spec.version {version!r} is that of the function; a candidate has another.",
                field="version",
            )
        try:
            candidate = await self.functions.create(
                name, spec, is_paused=False, candidate_of=live.number, outputs=outputs
            )
        except AlreadyExistsError as error:
            raise AlreadyExistsError(
                "CANDIDATE_EXISTS",
                f"Function {live.id!r} has a candidate already; discard or promote it.",
                function_id=live.id,
            ) from error
        return await self._status(candidate)

    async def get(self, function_id: str) -> Status:
        """Return the candidate of a function.

        Raises:
            NotFoundError: ``FUNCTION_NOT_FOUND`` or ``CANDIDATE_NOT_FOUND``.
        """
        return (await self._both(function_id))[1]

    async def discard(self, function_id: str) -> None:
        """Remove a candidate with its outputs; errors as for :meth:`get`."""
        live, status = await self._both(function_id)
        candidate = status.function
        # First, so that no worker writes more of what is about to be removed.
        await self.functions.delete(candidate.id)
        for namespace in await self._namespaces(candidate.spec):
            await self._erase(live, candidate, namespace)

    async def compare(
        self, function_id: str, *, namespace: str, row_count_max: int, sample_count_max: int
    ) -> Comparison:
        """Compare the rows that both have processed; errors as for :meth:`get`.

        Args:
            row_count_max: 0 means 10,000.
            sample_count_max: Disagreements to return; 0 means 10, less means none.
        """
        live, status = await self._both(function_id)
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

    async def promote(
        self, function_id: str, *, is_partial_allowed: bool, namespaces: Sequence[str]
    ) -> tuple[int, str]:
        """Make outputs and version of a candidate those of its function.

        Returns:
            How many rows were taken over, and the version of the function now.

        Raises:
            NotFoundError: ``FUNCTION_NOT_FOUND`` or ``CANDIDATE_NOT_FOUND``.
            PreconditionError: ``CANDIDATE_UNFINISHED``.
        """
        live, status = await self._both(function_id)
        candidate, figures = status.function, status.figures
        left_count = figures.pending_count + figures.processing_count + figures.failed_count
        if not is_partial_allowed and (left_count or not candidate.sweep_count):
            raise PreconditionError(
                "CANDIDATE_UNFINISHED",
                f"The candidate has {left_count} items left and has been swept for "
                f"{candidate.sweep_count} times; wait, or allow a partial promotion.",
                left_count=left_count,
            )
        names = [*map(parse_namespace, namespaces)] or await self._namespaces(candidate.spec)
        promoted_count = 0
        for namespace in names:
            promoted_count += await self._promote(live, candidate, namespace)
        spec = replace(
            live.spec,
            version=candidate.spec.version,
            inputs=candidate.spec.inputs,
            filter=candidate.spec.filter,
            worker=candidate.spec.worker,
        )
        await self.functions.upsert(live.id, spec)
        await self.functions.delete(candidate.id)
        return promoted_count, spec.version

    async def _promote(self, live: Function, candidate: Function, namespace: str) -> int:
        try:
            types = await self.rows.types(namespace)
        except NotFoundError:
            return 0
        markers, mine = markers_of(live.id), markers_of(candidate.id)
        if mine.version not in types:
            return 0
        names = {output: candidate_output(live.id, output) for output in candidate.outputs}
        kept = {output: name for output, name in names.items() if name in types}
        condition = done(mine, candidate.spec.version)
        stream = self.rows.stream(
            namespace,
            own_filter=b"",
            condition=condition,
            names=[*kept.values()] or [mine.version],
            page_size=PAGE_SIZE,
        )
        count = 0
        async with aclosing(stream):
            async for page in stream:
                patches = [
                    RowWrite(
                        id=row.id,
                        attributes={
                            output: row.attributes[name]
                            for output, name in kept.items()
                            if name in row.attributes
                        },
                        marks={
                            **_none_for(row, kept),
                            markers.version: candidate.spec.version,
                            mine.version: None,
                        },
                    )
                    for row in page
                ]
                count += len(
                    await self.rows.write(
                        namespace, patches=patches, condition=condition, schema={}
                    )
                )
        return count

    async def _erase(self, live: Function, candidate: Function, namespace: str) -> None:
        try:
            types = await self.rows.types(namespace)
        except NotFoundError:
            return
        mine = markers_of(candidate.id)
        outputs = [candidate_output(live.id, output) for output in candidate.outputs]
        names = [name for name in (mine.version, *outputs) if name in types]
        if mine.version in types:
            await self.rows.erase(namespace, names, [mine.version, "NotEq", None])

    async def _both(self, function_id: str) -> tuple[Function, Status]:
        live = await self.functions.get(parse_new_function_id(function_id))
        try:
            candidate = await self.functions.get(candidate_id(live.id))
        except NotFoundError as error:
            raise NotFoundError(
                "CANDIDATE_NOT_FOUND",
                f"Function {live.id!r} has no candidate.",
                function_id=live.id,
            ) from error
        return live, await self._status(candidate)

    async def _status(self, candidate: Function) -> Status:
        figures = await self.items.figures(candidate.number, window_s=RATE_WINDOW_S)
        return Status(function=candidate, figures=figures)

    async def _namespaces(self, spec: FunctionSpec) -> list[str]:
        found = set(spec.target_namespaces)
        if spec.index_labels:
            found.update(await self.rows.labelled(spec.index_labels))
        return sorted(found)


def _none_for(row: Row, names: Mapping[str, str]) -> dict[str, Scalar]:
    """Return what is to be removed: what the candidate kept apart, and what it has none of."""
    lacking = [output for output, name in names.items() if name not in row.attributes]
    return dict.fromkeys([*names.values(), *lacking])


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
