"""Child processes for tests, started without running any Python between fork and exec.

The event loop of the services, which tests run on too, starts a process by forking the
interpreter and running its handlers of that in the child. In a test that has threads (a server
of its own, a client of the cache) the child now and then never gets out of them: it neither
becomes the other program nor ends. ``subprocess`` leaves Python out of it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Mapping
from typing import IO, Final

PIPE: Final = subprocess.PIPE
DEVNULL: Final = subprocess.DEVNULL


class Child:
    """A running process whose pipes and end can be awaited. Made by :func:`start_child`."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        *,
        stdout: asyncio.StreamReader | None,
        stderr: asyncio.StreamReader | None,
    ) -> None:
        self.stdout = stdout
        self.stderr = stderr
        self._process = process
        self._ended = asyncio.get_running_loop().create_future()
        self._watch()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Exit code, negative for a signal; None while it runs."""
        return self._process.poll()

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal; one to a process that has ended is lost."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()

    async def wait(self) -> int:
        """Wait for its end; return its exit code, negative for a signal."""
        await asyncio.shield(self._ended)
        return self._process.wait()

    async def communicate(self, sent: bytes = b"") -> tuple[bytes, bytes]:
        """Send all its input and return all it printed, once it has ended."""
        if self._process.stdin is not None:
            await asyncio.to_thread(_write_all, self._process.stdin, sent)
        stdout, stderr = await asyncio.gather(_read_all(self.stdout), _read_all(self.stderr))
        await self.wait()
        return stdout, stderr

    def _watch(self) -> None:
        """Have the kernel tell of the end: a process descriptor is readable from then on."""
        loop = asyncio.get_running_loop()
        descriptor = os.pidfd_open(self.pid)

        def end() -> None:
            loop.remove_reader(descriptor)
            os.close(descriptor)
            self._process.poll()
            if not self._ended.done():
                self._ended.set_result(None)

        loop.add_reader(descriptor, end)


class _PipeProtocol(asyncio.StreamReaderProtocol):
    """Closes the pipe at its end, which by default is kept half open as a socket is."""

    def eof_received(self) -> bool:
        super().eof_received()
        return False


async def start_child(
    *command: str,
    env: Mapping[str, str],
    stdin: int = DEVNULL,
    stdout: int = PIPE,
    stderr: int = PIPE,
    start_new_session: bool = False,
) -> Child:
    """Start a process; ``stdin``, ``stdout`` and ``stderr`` are ``PIPE`` or ``DEVNULL``.

    Raises:
        OSError: When it cannot be started.
    """
    process = subprocess.Popen(  # noqa: ASYNC220, S603 -- see above; tests choose the command
        command,
        env=env,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        start_new_session=start_new_session,
    )
    return Child(
        process, stdout=await _reader(process.stdout), stderr=await _reader(process.stderr)
    )


async def _reader(pipe: IO[bytes] | None) -> asyncio.StreamReader | None:
    if pipe is None:
        return None
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: _PipeProtocol(reader), pipe)
    return reader


async def _read_all(reader: asyncio.StreamReader | None) -> bytes:
    return b"" if reader is None else await reader.read()


def _write_all(pipe: IO[bytes], sent: bytes) -> None:
    with pipe:
        pipe.write(sent)
