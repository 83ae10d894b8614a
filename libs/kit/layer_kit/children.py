"""Child processes, started without running any Python between fork and exec.

uvloop, the event loop of the services, starts a process by forking the interpreter and running
its handlers of that in the child. In a process that has threads (a gRPC server, a client of the
cache) the child now and then never gets out of them: it neither becomes the other program nor
ends. ``subprocess`` leaves Python out of it. Its pipes and its end are waited for in threads:
descriptors that come and go as children do are now and then not heard of by that loop again once
their number belongs to another file.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Final, cast

PIPE: Final = subprocess.PIPE
DEVNULL: Final = subprocess.DEVNULL
CHUNK_BYTES: Final = 64 * 1024


class Child:
    """A running process whose pipes and end can be awaited. Made by :func:`start_child`."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._ended = asyncio.get_running_loop().create_future()
        self._stdout = None if process.stdout is None else _Pump(process.stdout)
        self._stderr = None if process.stderr is None else _Pump(process.stderr)
        self.stdout = None if self._stdout is None else self._stdout.reader
        self.stderr = None if self._stderr is None else self._stderr.reader
        _in_thread(self._wait)

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
        return await asyncio.shield(self._ended)

    def discard(self) -> None:
        """Read no more; what it has printed, and will yet, is gone."""
        for pump in (self._stdout, self._stderr):
            if pump is not None:
                pump.discard()

    async def communicate(self, sent: bytes = b"") -> tuple[bytes, bytes]:
        """Send all its input and return all it printed, once it has ended."""
        if self._process.stdin is not None:
            await asyncio.to_thread(_write_all, self._process.stdin, sent)
        stdout, stderr = await asyncio.gather(_read_all(self.stdout), _read_all(self.stderr))
        await self.wait()
        return stdout, stderr

    def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        code = self._process.wait()
        loop.call_soon_threadsafe(_set, self._ended, code)


class _Pump:
    """Takes what comes out of a pipe to a reader, no faster than that is read."""

    def __init__(self, file: IO[bytes]) -> None:
        self.reader = asyncio.StreamReader()
        # Of a transport, this is what a reader that has enough asks for.
        self.reader.set_transport(cast("asyncio.Transport", self))
        self._file = file
        self._may_go_on = threading.Event()
        self._may_go_on.set()
        self._is_discarding = False
        _in_thread(self._run)

    def pause_reading(self) -> None:
        if not self._is_discarding:
            self._may_go_on.clear()

    def resume_reading(self) -> None:
        self._may_go_on.set()

    def discard(self) -> None:
        self._is_discarding = True
        self._may_go_on.set()

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        taken = threading.Event()
        with self._file as file:
            while chunk := os.read(file.fileno(), CHUNK_BYTES):
                if self._is_discarding:
                    continue
                taken.clear()
                loop.call_soon_threadsafe(self._feed, chunk, taken)
                taken.wait()
                self._may_go_on.wait()
        loop.call_soon_threadsafe(self.reader.feed_eof)

    def _feed(self, chunk: bytes, taken: threading.Event) -> None:
        self.reader.feed_data(chunk)
        taken.set()


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
    return Child(process)


def _in_thread(work: Callable[[asyncio.AbstractEventLoop], None]) -> None:
    """Do what blocks beside the running loop; a loop that has ended is told nothing more."""
    loop = asyncio.get_running_loop()

    def run() -> None:
        try:
            work(loop)
        except RuntimeError:
            if not loop.is_closed():
                raise

    threading.Thread(target=run, daemon=True).start()


def _set(future: asyncio.Future[int], code: int) -> None:
    if not future.done():
        future.set_result(code)


async def _read_all(reader: asyncio.StreamReader | None) -> bytes:
    return b"" if reader is None else await reader.read()


def _write_all(pipe: IO[bytes], sent: bytes) -> None:
    with pipe:
        pipe.write(sent)
