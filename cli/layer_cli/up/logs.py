"""Log lines of many processes on one stream, each behind the name of its process."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import BinaryIO, Final

HELD_LINES_MAX: Final = 2000
OWN_NAME: Final = "layer"
COLOURS: Final = (b"36", b"33", b"35", b"32", b"34", b"96", b"93", b"95")


class LogStream:
    """Writes whole lines, so that processes do not cut into each other's.

    While the system starts, lines are held back: a fault of the configuration is then told by
    one clear line and not by one among fifty. The oldest of more than ``HELD_LINES_MAX`` held
    lines are dropped.
    """

    def __init__(
        self, out: BinaryIO, names: Iterable[str], *, is_coloured: bool, is_quiet: bool
    ) -> None:
        """Prepare the prefixes of the processes ``names``; ``is_quiet`` drops their lines."""
        self._out: BinaryIO | None = out
        self._held: deque[bytes] | None = deque(maxlen=HELD_LINES_MAX)
        self._is_quiet = is_quiet
        all_names = [OWN_NAME, *names]
        width = max(len(name) for name in all_names)
        self._prefixes = {
            name: _prefix(name.ljust(width), COLOURS[i % len(COLOURS)] if is_coloured else None)
            for i, name in enumerate(all_names)
        }

    def write(self, name: str, line: bytes) -> None:
        """Write a line of the process ``name``, or hold it."""
        if self._is_quiet:
            return
        if self._held is None:
            self._put(name, line)
        else:
            self._held.append(self._prefixes[name] + line)

    def say(self, text: str) -> None:
        """Write a line of the supervisor's own, after the lines that were held until now."""
        self.release()
        self._put(OWN_NAME, text.encode())

    def release(self) -> None:
        """Write what was held and hold nothing any more."""
        if self._held is not None:
            held, self._held = self._held, None
            if held:
                self._flush(b"\n".join(held) + b"\n")

    def discard(self) -> None:
        """Forget what was held."""
        if self._held is not None:
            self._held.clear()

    def _put(self, name: str, line: bytes) -> None:
        self._flush(self._prefixes[name] + line + b"\n")

    def _flush(self, data: bytes) -> None:
        if self._out is None:
            return
        try:
            self._out.write(data)
            self._out.flush()
        except OSError:
            # Whoever read the logs has gone. The system must not stop serving for that, and
            # there is no place left to tell it.
            self._out = None


def _prefix(name: str, colour: bytes | None) -> bytes:
    text = f"{name} | ".encode()
    return text if colour is None else b"\x1b[" + colour + b"m" + text + b"\x1b[0m"
