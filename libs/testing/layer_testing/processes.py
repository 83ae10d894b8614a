"""Services as real processes: started by module name, addressed by what they print, stopped.

The interpreter and the import paths are those of the running test, so the same code works under
plain pytest and in a build sandbox. A ``python_tests`` target that starts ``layer_x`` names its
``__main__.py`` in ``dependencies``, since nothing imports it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from layer_kit.children import Child, start_child
from layer_kit.supervision import parse_listening_line

START_S_MAX: Final = 60.0
STOP_S_MAX: Final = 15.0
STDERR_BYTES_MAX: Final = 256 * 1024


class ServiceProcess:
    """A started service. Made by :func:`running`."""

    def __init__(self, process: Child, module: str) -> None:
        self.process = process
        self.addresses: Mapping[str, str] = {}
        """What the service listens on, by kind: ``grpc``, ``ops``, ``http``."""
        self._module = module
        self._stderr = b""
        self._readers = [asyncio.create_task(self._keep_stderr())]

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def stderr(self) -> str:
        """The end of the service's log, at most ``STDERR_BYTES_MAX``."""
        return self._stderr.decode(errors="replace")

    async def wait(self) -> int:
        """Wait for the end of the process; return its exit code, negative for a signal."""
        async with asyncio.timeout(STOP_S_MAX):
            code = await self.process.wait()
            await asyncio.wait(self._readers)
        return code

    async def terminate(self) -> int:
        """Ask the process to stop, as an orchestrator does; return its exit code.

        Raises:
            TimeoutError: When it is still there after ``STOP_S_MAX`` seconds.
        """
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        return await self.wait()

    async def kill(self) -> int:
        """End the process and what it started at once, as a power cut does."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        return await self.wait()

    async def stop(self) -> None:
        """Terminate the process if it still runs, or kill it when it does not heed that."""
        try:
            await self.terminate()
        except TimeoutError:
            await self.kill()

    async def read_addresses(self) -> None:
        """Wait for the line in which the service tells what it listens on, and drain the rest."""
        stdout = self.process.stdout
        assert stdout is not None
        while line := (await stdout.readline()).decode():
            if addresses := parse_listening_line(line):
                self.addresses = addresses
                # A full pipe would stop the service in its next print.
                self._readers.append(asyncio.create_task(_drain(stdout)))
                return
        code = await self.wait()
        raise RuntimeError(f"{self._module} ended with {code} before listening:\n{self.stderr}")

    async def _keep_stderr(self) -> None:
        stderr = self.process.stderr
        assert stderr is not None
        while chunk := await stderr.read(STDERR_BYTES_MAX):
            self._stderr = (self._stderr + chunk)[-STDERR_BYTES_MAX:]


async def _drain(stream: asyncio.StreamReader) -> None:
    while await stream.read(STDERR_BYTES_MAX):
        pass


async def launch(module: str, *arguments: str, **environment: str) -> ServiceProcess:
    """Start ``python -m module`` without waiting for it to listen; the caller stops it."""
    process = await start_child(
        *(sys.executable, "-m", module, *arguments),
        env=child_environment(environment),
        start_new_session=True,  # so that kill() reaches what it starts, and not the test
    )
    return ServiceProcess(process, module)


@asynccontextmanager
async def running(module: str, **environment: str) -> AsyncIterator[ServiceProcess]:
    """Start ``python -m module``, yield it once it listens, stop it at the end of the block.

    Args:
        module: Such as ``layer_cache``; it must print the ``listening`` line of the kit.
        environment: Added to the test's own variables.

    Raises:
        RuntimeError: When the service ends before it listens; the message holds its log.
        TimeoutError: When it does not listen within ``START_S_MAX`` seconds.
    """
    service = await launch(module, **environment)
    try:
        async with asyncio.timeout(START_S_MAX):
            await service.read_addresses()
        yield service
    finally:
        await service.stop()


def child_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Return this environment with every import path absolute, so that a child may move."""
    paths = [str(Path(path).absolute()) for path in sys.path if path]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **extra}


async def tell_to_stop(worker: Child) -> None:
    """Send SIGTERM to a worker of the SDK, and wait until it says that it has been told.

    A signal is heard by its event loop some time after it was sent: until then it may go on to
    its next item.
    """
    assert worker.stderr is not None
    worker.send_signal(signal.SIGTERM)
    while b"told to stop" not in (line := await worker.stderr.readline()):
        assert line, "the worker has ended without saying that it was told to stop"
