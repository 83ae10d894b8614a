"""Coroutines that begin at once, as a task of Python 3.12 may (``eager_start``).

A task begins in the next turn of its loop. Where something is sent for every request, that turn
costs as much as the sending.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from contextvars import Context
from typing import Any


def begin(work: Coroutine[Any, Any, None], *, context: Context) -> asyncio.Task[None] | None:
    """Run ``work`` until it waits; return a task for the rest of it, or None when it has ended.

    Until then it is no task of its own: it must not look for one, as ``asyncio.timeout`` does.
    An error that it raises before is the caller's.

    Args:
        context: Of the rest; what comes before runs in the caller's.
    """
    try:
        awaited = work.send(None)
    except StopIteration:
        return None
    return asyncio.get_running_loop().create_task(_Rest(work, awaited), context=context)


class _Rest(Coroutine[Any, Any, None]):
    """What is left of a coroutine that waits already.

    Not one of its own around it: a task that is cancelled before its first turn throws into what
    it was given, which must then be the work itself.
    """

    def __init__(self, work: Coroutine[Any, Any, None], awaited: object) -> None:
        self._work = work
        self._awaited: object = awaited
        self._is_told = False

    def send(self, value: Any) -> Any:
        """Tell first what the work waits for, and then resume it."""
        if self._is_told:
            return self._work.send(value)
        self._is_told = True
        awaited, self._awaited = self._awaited, None
        return awaited

    def throw(self, *error: Any) -> Any:
        self._is_told = True
        return self._work.throw(*error)

    def close(self) -> None:
        self._work.close()

    def __await__(self) -> Generator[Any, Any, None]:
        raise NotImplementedError  # tasks send and throw
