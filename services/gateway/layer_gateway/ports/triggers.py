"""What writing needs of those who want to hear of writes."""

from __future__ import annotations

from typing import Protocol

from layer_gateway.ports.stores import StoreAnswer
from layer_kit.names import Namespace


class WriteTriggers(Protocol):
    """Tells functions which rows were written."""

    def written(self, namespace: Namespace, body: bytes, answer: StoreAnswer) -> None:
        """Take note of a write that succeeded. Neither waits nor raises.

        Args:
            body: As the caller sent it.
        """
        ...
