"""What workers say of items while they hold them: that they still do, or that it went wrong."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from layer_runtime.domain.functions import Retry, parse_function_id
from layer_runtime.domain.items import (
    MESSAGE_LENGTH_MAX,
    Failure,
    Held,
    Reference,
    Verdict,
    check_count,
)
from layer_runtime.domain.names import parse_worker_id
from layer_runtime.ports.functions import FunctionStore
from layer_runtime.ports.items import ItemQueue

JITTER: Final = 0.1
"""Share of a pause by which it may be longer, so that what failed together comes back apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldItems:
    """Renews leases and takes failures in."""

    functions: FunctionStore
    items: ItemQueue
    random: Callable[[], float] = random.random

    async def heartbeat(self, function_id: str, worker_id: str, items: Sequence[Reference]) -> int:
        """Renew the leases of items; return how many the worker still holds.

        Raises:
            InvalidRequestError: ``TOO_MANY_ITEMS`` or ``WORKER_ID_INVALID``.
            NotFoundError: ``FUNCTION_NOT_FOUND``.
        """
        parse_worker_id(worker_id)
        check_count(items)
        function = await self.functions.get(parse_function_id(function_id))
        return await self.items.heartbeat(function.number, worker_id, items)

    async def fail(self, function_id: str, worker_id: str, failures: Sequence[Failure]) -> int:
        """Let items wait again or give them up; return how many the worker held.

        Errors as for :meth:`heartbeat`.
        """
        parse_worker_id(worker_id)
        check_count(failures)
        function = await self.functions.get(parse_function_id(function_id))
        by_key = {failure.item.key: failure for failure in failures}
        held = await self.items.held(
            function.number,
            worker_id,
            [failure.item for failure in by_key.values()],
            lease_s_min=0,
        )
        verdicts = [self._verdict(item, by_key[item.key], function.spec.retry) for item in held]
        return await self.items.judge(function.number, verdicts) if verdicts else 0

    def _verdict(self, held: Held, failure: Failure, retry: Retry) -> Verdict:
        if failure.is_release:
            return Verdict(held.key, held.lease, held.attempts, 0.0, None)
        attempts = held.attempts + 1
        is_given_up = failure.is_permanent or attempts >= retry.attempt_count_max
        pause_s = retry.backoff_s(attempts) * (1 + JITTER * self.random())
        return Verdict(
            held.key,
            held.lease,
            attempts,
            None if is_given_up else pause_s,
            failure.message[:MESSAGE_LENGTH_MAX],
        )
