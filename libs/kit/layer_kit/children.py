"""Child processes, started without running any Python between fork and exec.

uvloop, the event loop of the services, starts a process by forking the interpreter and running
its handlers of that in the child. In a process that has threads (a gRPC server, a client of the
cache) the child now and then never gets out of them: it neither becomes the other program nor
ends. ``subprocess`` leaves Python out of it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from typing import IO, Final

PIPE: Final = subprocess.PIPE
DEVNULL: Final = subprocess.DEVNULL


class Child:
    """A running process whose pipes and end can be awaited. Made by :func:`start_child`."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        *,
        stdout: _Pipe | None,
        stderr: _Pipe | None,
    ) -> None:
        self.stdout = None if stdout is None else stdout.reader
        self.stderr = None if stderr is None else stderr.reader
        self._process = process
        self._pipes = [pipe for pipe in (stdout, stderr) if pipe is not None]
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

    async def aclose(self) -> None:
        """Let go of its pipes; what it has printed and nobody has read is gone."""
        for pipe in self._pipes:
            await pipe.aclose()

    async def communicate(self, sent: bytes = b"") -> tuple[bytes, bytes]:
        """Send all its input and return all it printed, once it has ended."""
        if self._process.stdin is not None:
            await asyncio.to_thread(_write_all, self._process.stdin, sent)
        stdout, stderr = await asyncio.gather(_read_all(self.stdout), _read_all(self.stderr))
        await self.wait()
        await self.aclose()
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


class _Pipe(asyncio.StreamReaderProtocol):
    """The end of a pipe that is read here; closed at its end, where a socket is kept half open."""

    def __init__(self) -> None:
        self.reader = asyncio.StreamReader()
        super().__init__(self.reader)
        self._transport: asyncio.BaseTransport | None = None
        self._is_closed = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        super().connection_made(transport)

    def eof_received(self) -> bool:
        super().eof_received()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._is_closed.set()

    async def aclose(self) -> None:
        if self._transport is not None:
            self._transport.close()
            await self._is_closed.wait()


async def start_child(
    *command: str,
    env: Mapping[str, str],
    stdin: int | None = DEVNULL,
    stdout: int | None = PIPE,
    stderr: int | None = PIPE,
    start_new_session: bool = False,
    pass_fds: Sequence[int] = (),
) -> Child:
    """Start a process.

    Args:
        command: The program and its arguments.
        env: Its whole environment.
        stdin: ``PIPE``, ``DEVNULL`` or None for that of this process.
        stdout: Likewise.
        stderr: Likewise.
        start_new_session: Whether signals from the terminal pass it by.
        pass_fds: Descriptors that stay open in it.

    Raises:
        OSError: When it cannot be started.
    """
    process = subprocess.Popen(  # noqa: ASYNC220, S603 -- see above; callers choose the command
        command,
        env=env,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        start_new_session=start_new_session,
        pass_fds=pass_fds,
    )
    try:
        stdout_pipe, stderr_pipe = await _pipe(process.stdout), await _pipe(process.stderr)
        return Child(process, stdout=stdout_pipe, stderr=stderr_pipe)
    except BaseException:  # nobody would know of it
        process.kill()
        process.wait()
        raise


async def _pipe(file: IO[bytes] | None) -> _Pipe | None:
    if file is None:
        return None
    pipe = _Pipe()
    await asyncio.get_running_loop().connect_read_pipe(lambda: pipe, file)
    return pipe


async def _read_all(reader: asyncio.StreamReader | None) -> bytes:
    return b"" if reader is None else await reader.read()


def _write_all(pipe: IO[bytes], sent: bytes) -> None:
    with pipe:
        pipe.write(sent)
