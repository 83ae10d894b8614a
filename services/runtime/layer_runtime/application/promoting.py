"""Promotions: a candidate's outputs and version put in the place of its function's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Final

from layer_kit.errors import NotFoundError, PreconditionError
from layer_kit.names import parse_namespace
from layer_runtime.application.candidates import Candidates
from layer_runtime.application.namespaces import namespaces_of
from layer_runtime.domain.items import Row, Scalar
from layer_runtime.domain.markers import candidate_output, done, markers_of
from layer_runtime.ports.functions import Function, FunctionStore
from layer_runtime.ports.rows import Rows, RowWrite

PAGE_SIZE: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class PromoteCandidate:
    """Promotes."""

    candidates: Candidates
    functions: FunctionStore
    rows: Rows

    async def __call__(
        self, function_id: str, *, is_partial_allowed: bool, namespaces: Sequence[str]
    ) -> tuple[int, str]:
        """Make outputs and version of a candidate those of its function.

        Returns:
            How many rows were taken over, and the version of the function now.

        Raises:
            NotFoundError: ``FUNCTION_NOT_FOUND`` or ``CANDIDATE_NOT_FOUND``.
            PreconditionError: ``CANDIDATE_UNFINISHED``.
        """
        live, status = await self.candidates.both(function_id)
        candidate, figures = status.function, status.figures
        left_count = figures.pending_count + figures.processing_count + figures.failed_count
        if not is_partial_allowed and (left_count or not candidate.sweep_count):
            raise PreconditionError(
                "CANDIDATE_UNFINISHED",
                f"The candidate has {left_count} items left and has been swept for "
                f"{candidate.sweep_count} times; wait, or allow a partial promotion.",
                left_count=left_count,
            )
        names = [*map(parse_namespace, namespaces)] or await namespaces_of(
            candidate.spec, self.rows
        )
        promoted_count = 0
        for namespace in names:
            promoted_count += await self._promote(live, candidate, namespace)
        spec = replace(
            live.spec,
            version=candidate.spec.version,
            inputs=candidate.spec.inputs,
            filter=candidate.spec.filter,
            worker=candidate.spec.worker,
            queries_per_item=candidate.spec.queries_per_item,
            is_grouped_by_parent=candidate.spec.is_grouped_by_parent,
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


def _none_for(row: Row, names: Mapping[str, str]) -> dict[str, Scalar]:
    """Return what is to be removed: what the candidate kept apart, and what it has none of."""
    lacking = [output for output, name in names.items() if name not in row.attributes]
    return dict.fromkeys([*names.values(), *lacking])
