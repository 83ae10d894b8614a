"""Large bodies are handed to a transport in parts, as it has room for them."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Sequence
from typing import cast

import pytest

from layer_upstream.outbox import PART_BYTES_MAX, Outbox
from layer_upstream.request import Piece


class Transport:
    """Takes parts; full for its protocol whenever a test says so."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []

    def writelines(self, pieces: Sequence[Piece]) -> None:
        self.parts.append(b"".join(pieces))


def outbox_of(body: Sequence[Piece]) -> tuple[Outbox, Transport]:
    transport = Transport()
    loop = asyncio.get_running_loop()
    return Outbox(cast("asyncio.Transport", transport), body, loop), transport


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    "sizes",
    [
        [1],
        [PART_BYTES_MAX + 1],
        [100, PART_BYTES_MAX, 3],
        [1000] * 3000,
        [3 * PART_BYTES_MAX, 7, 2 * PART_BYTES_MAX + 5],
    ],
)
async def test_all_of_a_body_is_sent_in_order_and_in_parts(sizes: list[int]) -> None:
    body = [bytes([at % 251]) * size for at, size in enumerate(sizes)]
    outbox, transport = outbox_of(body)
    outbox.send_next()
    assert len(transport.parts) == 1  # others have their turn before the next
    await turns(20)
    assert b"".join(transport.parts) == b"".join(body)
    assert max(map(len, transport.parts)) <= PART_BYTES_MAX
    assert outbox.left_bytes == 0


async def test_a_body_that_was_sent_is_not_held() -> None:
    class Body(bytearray):
        """One that can be watched."""

    body = Body(3 * PART_BYTES_MAX)
    watched = weakref.ref(body)
    outbox, transport = outbox_of([memoryview(body)])
    del body
    outbox.send_next()
    await turns(5)
    assert outbox.left_bytes == 0
    transport.parts.clear()
    assert watched() is None


async def test_nothing_is_sent_while_the_transport_is_full() -> None:
    outbox, transport = outbox_of([b"x" * (3 * PART_BYTES_MAX)])
    outbox.send_next()
    outbox.pause()
    await turns(5)
    assert len(transport.parts) == 1
    assert outbox.left_bytes == 2 * PART_BYTES_MAX
    outbox.resume()
    await turns(5)
    assert len(transport.parts) == 3


async def test_what_is_abandoned_is_not_sent() -> None:
    outbox, transport = outbox_of([b"x" * (3 * PART_BYTES_MAX)])
    outbox.send_next()
    outbox.abandon()
    outbox.resume()
    await turns(5)
    assert len(transport.parts) == 1
