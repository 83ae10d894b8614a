"""Completions: results written to their rows together with the mark that they are done.

One write does both, so there is no moment at which a row has the one without the other. It is
bound to the stamp that the row had when its inputs were given out: a row that was written since
is looked at again. With other inputs it waits once more; with the same ones the result is still
right, and the write is tried again on the stamp that the row has now.

A process that dies between the write and the queue leaves an item whose lease runs out. The claim
that finds it sees the mark and takes it off.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from layer_kit.clock import EpochMilliseconds
from layer_kit.errors import InvalidRequestError, NotFoundError
from layer_runtime.application.document_results import WriteToDocuments
from layer_runtime.application.results import Outcome, Work
from layer_runtime.application.row_results import WriteToRows
from layer_runtime.domain.functions import parse_function_id
from layer_runtime.domain.items import (
    Disposition,
    ItemKey,
    Result,
    check_count,
)
from layer_runtime.domain.names import parse_worker_id
from layer_runtime.ports.functions import Function, FunctionStore
from layer_runtime.ports.items import ItemQueue
from layer_runtime.ports.rows import Rows

LEASE_S_MIN: Final = 60
"""What is being written is not given to another worker for this long."""


@dataclass(frozen=True, slots=True)
class Completion:
    """What became of results."""

    accepted_count: int
    dispositions: Sequence[Disposition]
    """In the order of the results."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompleteItems:
    """Takes results in."""

    functions: FunctionStore
    items: ItemQueue
    rows: Rows
    now_ms: EpochMilliseconds

    async def __call__(
        self, function_id: str, worker_id: str, results: Sequence[Result]
    ) -> Completion:
        """Write the results of those items that the worker holds.

        Raises:
            InvalidRequestError: ``TOO_MANY_ITEMS``, ``WORKER_ID_INVALID``, ``VECTOR_INVALID`` or
                ``OUTPUT_UNKNOWN``.
            NotFoundError: ``FUNCTION_NOT_FOUND``.
            UnavailableError: ``GATEWAY_DOWN``; send the same again while the lease lasts.
        """
        parse_worker_id(worker_id)
        check_count(results)
        function = await self.functions.get(parse_function_id(function_id))
        _check_outputs(function, results)
        by_key = {result.item.key: result for result in results}
        references = [result.item for result in by_key.values()]
        held = await self.items.held(
            function.number, worker_id, references, lease_s_min=LEASE_S_MIN
        )
        works = [Work(item, by_key[item.key]) for item in held]
        found: dict[ItemKey, Disposition] = {}
        accepted_count = 0
        for namespace, group in groupby(works, key=lambda work: work.key.namespace):
            accepted_count += await self._in_namespace(function, namespace, list(group), found)
        return Completion(accepted_count, _in_order(results, by_key, found))

    async def _in_namespace(
        self,
        function: Function,
        namespace: str,
        works: Sequence[Work],
        found: dict[ItemKey, Disposition],
    ) -> int:
        """Write results of one namespace; return how many were accepted."""
        writer = WriteToDocuments if function.spec.is_grouped_by_parent else WriteToRows
        write = writer(rows=self.rows, now_ms=self.now_ms)
        right = [work for work in works if work.result.is_made_from(work.held.digest)]
        others = [work.held for work in works if not work.result.is_made_from(work.held.digest)]
        outcome = Outcome(changed=[*others])
        try:
            if right:
                await write(function, namespace, right, outcome)
        except NotFoundError:  # the namespace went, and with it what there was to do
            outcome = Outcome(gone=[work.held for work in right], changed=others)
        finally:
            # Also when a later write fails: what is written is done.
            accepted_count = await self._settle(function, outcome)
        for disposition, part in (
            (Disposition.COMPLETED, outcome.done),
            (Disposition.GONE, outcome.gone),
            (Disposition.STALE, outcome.changed),
            (Disposition.REFUSED, outcome.refused),
        ):
            found.update((one.key, disposition) for one in part)
        return accepted_count

    async def _settle(self, function: Function, outcome: Outcome) -> int:
        accepted_count = 0
        if finished := [*outcome.done, *outcome.gone]:
            accepted_count += await self.items.finish(function.number, finished)
        if outcome.changed:
            await self.items.requeue(function.number, outcome.changed)
            accepted_count += len(outcome.changed)
        if outcome.refused:
            await self.items.judge(function.number, outcome.refused)
        return accepted_count


def _in_order(
    results: Sequence[Result],
    by_key: Mapping[ItemKey, Result],
    found: Mapping[ItemKey, Disposition],
) -> list[Disposition]:
    return [
        found.get(result.item.key, Disposition.NOT_HELD)
        if by_key[result.item.key] is result
        else Disposition.SUPERSEDED
        for result in results
    ]


def _check_outputs(function: Function, results: Sequence[Result]) -> None:
    if function.spec.is_grouped_by_parent and any(result.has_vector for result in results):
        raise InvalidRequestError(
            "VECTOR_INVALID",
            "A result of a document has no vector: it is written to every row of it.",
            field="items",
        )
    if function.candidate_of is None:
        return
    for result in results:
        unknown = result.attributes.keys() - set(function.outputs)
        if unknown or result.has_vector:
            name = min(unknown) if unknown else "vector"
            raise InvalidRequestError(
                "OUTPUT_UNKNOWN",
                f"{name} is not among the outputs that this candidate was registered with.",
                field="attributes",
            )
