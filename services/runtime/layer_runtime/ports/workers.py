"""Workers to which batches are pushed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from layer_runtime.domain.items import Claim, Failure, Result
from layer_runtime.ports.functions import Function


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a worker made of a batch; every item is in one of the two."""

    results: Sequence[Result]
    failures: Sequence[Failure]


class Workers(Protocol):
    """Runs batches."""

    async def run(self, function: Function, claims: Sequence[Claim]) -> Answer:
        """Push a batch to a worker and wait for its answer.

        Raises:
            UnavailableError: ``WORKER_FAILED``: it is away, too slow, or answers nonsense.
        """
        ...
