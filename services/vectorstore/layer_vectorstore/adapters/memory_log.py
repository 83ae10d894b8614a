"""The change log without a disk: for tests, and held to the same contract as the real one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future

from layer_kit.errors import UnavailableError
from layer_vectorstore.adapters.change_codec import decode_change, encode_change
from layer_vectorstore.domain.changes import Change
from layer_vectorstore.ports import Stream


class MemoryChangeLog:
    """Implements ``ports.ChangeLog``; keeps encoded changes, so that encoding is tested too."""

    def __init__(self) -> None:
        self.is_broken = False
        """While true, whatever is appended is lost, as on a full disk."""
        self._payloads: dict[int, list[bytes]] = {}
        self._streams: dict[int, Stream] = {}
        self._last_number = 0

    def streams(self) -> Sequence[Stream]:
        return [self._streams[number] for number in self._payloads]

    def create(self, name: str) -> Stream:
        self._last_number += 1
        stream = self._streams[self._last_number] = Stream(self._last_number, name)
        return stream

    def append(self, stream: Stream, change: Change) -> Future[None]:
        payload = encode_change(change)
        if not self._is_writable(stream):
            return _lost()
        self._give_up_earlier(stream)
        self._payloads.setdefault(stream.number, []).append(payload)
        return _done()

    def replay(self, stream: Stream) -> Iterator[Change]:
        for payload in list(self._payloads.get(stream.number, [])):
            yield decode_change(payload)

    def rewrite(self, stream: Stream, changes: Sequence[Change]) -> Future[None]:
        payloads = [encode_change(change) for change in changes]
        if not self._is_writable(stream):
            return _lost()
        self._give_up_earlier(stream)
        self._payloads[stream.number] = payloads
        return _done()

    def drop(self, stream: Stream) -> Future[None]:
        if not self._is_writable(stream):
            return _lost()
        self._payloads.pop(stream.number, None)
        return _done()

    def _give_up_earlier(self, stream: Stream) -> None:
        """Forget a stream of the same name, given up while its first change was written."""
        for number in list(self._payloads):
            if number != stream.number and self._streams[number].name == stream.name:
                del self._payloads[number]

    def _is_writable(self, stream: Stream) -> bool:
        stream.has_failed = stream.has_failed or self.is_broken
        return not stream.has_failed


def _done() -> Future[None]:
    future: Future[None] = Future()
    future.set_result(None)
    return future


def _lost() -> Future[None]:
    future: Future[None] = Future()
    future.set_exception(UnavailableError("LOG_FAILED", "💔 the write could not be made durable"))
    return future
