"""Workers of a function as processes of this machine."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

STOP_S_MAX: Final = 30.0


class Workers:
    """A pool of worker processes. Made by :func:`local_workers`."""

    def __init__(self, processes: list[subprocess.Popen[bytes]]) -> None:
        self._processes = processes

    @property
    def running_count(self) -> int:
        return sum(process.poll() is None for process in self._processes)

    @property
    def first_exit_code(self) -> int:
        """Exit code of the first that has ended."""
        codes = (process.poll() for process in self._processes)
        return next(code for code in codes if code is not None)

    def stop(self) -> None:
        """Let each finish its item and give back the rest."""
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
        for process in self._processes:
            try:
                process.wait(STOP_S_MAX)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def local_workers(
    worker: str, *, count: int, folder: Path, base_url: str, key: str, function_id: str
) -> Iterator[Workers]:
    """Run ``count`` workers until the block ends.

    Args:
        worker: `module:function`.
        folder: Where its module is.
    """
    environment = {
        **os.environ,
        "HEVLAYER_BASE_URL": base_url,
        "HEVLAYER_API_KEY": key,
        "HEVLAYER_UDF_ID": function_id,
        "PYTHONPATH": os.pathsep.join([str(folder), *filter(None, map(str, sys.path))]),
    }
    environment.pop("HEVLAYER_WORKER_ID", None)  # each needs its own
    command = [sys.executable, "-m", "layer_sdk", worker]
    workers = Workers(
        [
            subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)  # noqa: S603 -- our own command
            for _ in range(count)
        ]
    )
    try:
        yield workers
    finally:
        workers.stop()
