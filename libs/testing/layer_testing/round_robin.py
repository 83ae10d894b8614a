"""Requests to each of several gateways in turn, as hooks of whatever HTTP client is in use."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

Request = Any
"""Of httpx, or of a library that is like it."""


def in_turn(urls: Sequence[str]) -> Callable[[Request], None]:
    """Return a hook that sends each request to the next of some origins."""
    origins = itertools.cycle([urlsplit(url) for url in urls])

    def rewrite(request: Request) -> None:
        origin = next(origins)
        request.url = request.url.copy_with(host=origin.hostname, port=origin.port)
        request.headers["host"] = origin.netloc

    return rewrite


def asynchronously_in_turn(urls: Sequence[str]) -> Callable[[Request], Awaitable[None]]:
    """Return the same for asynchronous clients."""
    rewrite = in_turn(urls)

    async def hook(request: Request) -> None:
        rewrite(request)

    return hook
