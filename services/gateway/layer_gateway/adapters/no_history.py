"""The gateway without a history service."""

from __future__ import annotations

from typing import Final, NoReturn

from layer_gateway.domain.history import Clicked, HistoryPage, HistoryPolicy, HistoryWanted, Queried
from layer_kit.errors import UnavailableError
from layer_kit.names import Namespace


class NoHistory:
    """A recorder that forgets, and an archive that says why it has nothing."""

    is_recording: Final = False

    def record(self, event: Queried | Clicked) -> None:
        pass

    async def queries(self, namespace: Namespace, wanted: HistoryWanted) -> HistoryPage:
        _refuse()

    async def clicks(self, namespace: Namespace, wanted: HistoryWanted) -> HistoryPage:
        _refuse()

    async def session(self, namespace: Namespace, trace_id: str) -> dict[str, object]:
        _refuse()

    async def policy(self, namespace: Namespace) -> dict[str, object]:
        _refuse()

    async def set_policy(self, namespace: Namespace, policy: HistoryPolicy) -> dict[str, object]:
        _refuse()

    async def purge(self, namespace: Namespace) -> int:
        return 0


def _refuse() -> NoReturn:
    raise UnavailableError(
        "HISTORY_OFF", "This gateway runs without history; set LAYER_GATEWAY_HISTORY_ADDRESS."
    )
