"""How a namespace is passed from end to end, in steps between which other calls have their turn."""

from __future__ import annotations

from collections.abc import AsyncIterator

from layer_cache.application.pauses import give_way
from layer_cache.domain.eras import Eras
from layer_cache.domain.limits import SCAN_STEP_ROWS
from layer_cache.domain.rows import RowKey, Rows
from layer_cache.ports import Place, RowStore
from layer_kit.names import Namespace


async def live_rows(
    store: RowStore,
    eras: Eras,
    namespace: Namespace,
    *,
    after: RowKey | None = None,
    count_max: int = SCAN_STEP_ROWS,
) -> AsyncIterator[Rows]:
    """Yield rows in order of key, up to ``count_max`` and possibly none at a time.

    Raises:
        UnavailableError: ``STORE_DOWN``.
    """
    place = None if after is None else Place(after)
    while True:
        epoch = eras.epoch(namespace)
        page = await store.scan(namespace, after=place, count_max=count_max, era_min=epoch)
        if eras.epoch(namespace) != epoch:
            continue  # what a far store has sent meanwhile is void
        place = page.after
        yield page.rows
        if place is None:
            return
        del page  # the next rows go where these were, which the processor still has near
        await give_way()
