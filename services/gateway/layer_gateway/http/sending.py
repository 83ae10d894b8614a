"""What a connection sends: answers, as fast as the caller takes them, or not at all."""

from __future__ import annotations

import asyncio
from typing import Final

from aiohttp import web

ANSWER_BYTES_PER_SECOND_MIN: Final = 32 * 1024
"""A caller who takes less of an answer, and not all of it, is hung up on: what it leaves standing
is memory of ours, or a connection to the store."""


class SendingProtocol(web.RequestHandler):
    """The half of a connection that waits until answers are taken.

    Attributes:
        patience_s: For how long a caller may take less than it should.
    """

    patience_s: float
    _taking: asyncio.TimerHandle | None = None

    async def _drain_helper(self) -> None:
        """Wait until what was written is taken, but for little, or the caller is gone."""
        self._watch_taking()
        try:
            await super()._drain_helper()
        finally:
            if self._taking is not None:
                self._taking.cancel()
                self._taking = None

    def _watch_taking(self) -> None:
        transport = self.transport
        if transport is not None:
            left_bytes = transport.get_write_buffer_size()
            self._taking = self._loop.call_later(self.patience_s, self._look_at_taking, left_bytes)

    def _look_at_taking(self, left_bytes: int) -> None:
        """Hang up on a caller who has taken too little; ``left_bytes`` are of when it began to."""
        transport = self.transport
        if transport is None:
            return
        taken_bytes = left_bytes - transport.get_write_buffer_size()
        if taken_bytes < self.patience_s * ANSWER_BYTES_PER_SECOND_MIN:
            transport.abort()
        else:
            self._watch_taking()
