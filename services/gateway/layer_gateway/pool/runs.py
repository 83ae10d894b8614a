"""How a worker is started: until it serves, or is given up."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from layer_kit.children import Child, start_child
from layer_kit.process import Addresses
from layer_kit.supervision import parse_listening_line


class NotServingError(Exception):
    """A worker did not come to serve. The message says why."""


async def start_run(
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    pass_fds: Sequence[int],
    patience_s: float,
) -> tuple[Child, Addresses]:
    """Start a worker and wait until it says where it listens.

    One that does not is no more when this returns.

    Raises:
        NotServingError: When it cannot be started, ends, or takes longer than ``patience_s``.
    """
    try:
        child = await start_child(*command, env=env, stderr=None, pass_fds=pass_fds)
    except OSError as error:
        raise NotServingError(f"could not be started: {error.strerror}") from error
    is_serving = False
    try:
        async with asyncio.timeout(patience_s):
            addresses = await _listening(child)
            if addresses is None:
                raise NotServingError(f"ended with {await child.wait()} before it served")
        is_serving = True
    except TimeoutError as error:
        raise NotServingError(f"did not serve within {patience_s:g} s") from error
    finally:
        if not is_serving:
            child.kill()
            await child.wait()
    child.discard()  # so that it never waits for a reader
    return child, addresses


async def _listening(child: Child) -> Addresses | None:
    assert child.stdout is not None
    while True:
        try:
            line = await child.stdout.readline()
        except ValueError:
            continue  # it is longer than any that tells of addresses
        if not line:
            return None
        if (addresses := parse_listening_line(line.decode(errors="replace"))) is not None:
            return addresses
