"""The side of a stream that a test listens on."""

from __future__ import annotations

from layer_kit.errors import LayerError


class KeepingListener:
    """Keeps the messages and the outcomes that it hears of, and answers nothing."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.outcomes: list[LayerError | None] = []

    def accepted(self) -> None:
        pass

    def received(self, message: bytes) -> None:
        self.messages.append(message)

    def writable(self) -> None:
        pass

    def finished(self) -> None:
        pass

    def ended(self, error: LayerError | None) -> None:
        self.outcomes.append(error)
