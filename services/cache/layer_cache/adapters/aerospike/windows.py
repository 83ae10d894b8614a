"""Scans in order of key, over a server that scans in none."""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from typing import Final

from layer_cache.adapters.aerospike.client import Client

WINDOW_KEYS: Final = 100_000
WINDOWS_MAX: Final = 4


class Windows:
    """The next keys of the scans under way.

    The server hands out a set in an order of its own. So a scan has all of the set's keys pass by,
    keeps the first ``WINDOW_KEYS``, and serves pages out of those; when they are used up it does so
    again. Memory is bounded, and a set of n rows is passed n / ``WINDOW_KEYS`` times.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._windows: OrderedDict[tuple[str, str], list[bytes]] = OrderedDict()

    async def keys_after(
        self, set_name: str, *, filter_namespace: str, after: bytes | None, count_max: int
    ) -> list[bytes]:
        """Return the next keys behind ``after``; None begins anew and sees what came since.

        Raises:
            UnavailableError: ``STORE_DOWN``.
        """
        name = (set_name, filter_namespace)
        window = self._windows.pop(name, [])
        if after is None or not window or not window[0] <= after < window[-1]:
            is_end = window and after == window[-1] and len(window) < WINDOW_KEYS
            window = (
                []
                if is_end
                else await self._client.keys_after(
                    set_name,
                    filter_namespace=filter_namespace,
                    after=after or b"",
                    count_max=WINDOW_KEYS,
                )
            )
        start = 0 if after is None else bisect_right(window, after)
        page = window[start : start + count_max]
        if page:
            self._windows[name] = window
            while len(self._windows) > WINDOWS_MAX:
                self._windows.popitem(last=False)
        return page
