"""Workers of a function as processes of this machine."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

STOP_S_MAX: Final = 50.0
"""More than a worker takes that finishes its call and hands its results in."""

_COMPLETED: Final = re.compile(rb"completed (\d+)\s*$")


class Workers:
    """A pool of worker processes. Made by :func:`local_workers`."""

    def __init__(self, processes: list[subprocess.Popen[bytes]]) -> None:
        self._processes = processes
        self.completed_count = 0
        """Rows that they did, as they say when they end."""

    @property
    def running_count(self) -> int:
        return sum(process.poll() is None for process in self._processes)

    @property
    def first_exit_code(self) -> int:
        """Exit code of the first that has ended."""
        codes = (process.poll() for process in self._processes)
        return next(code for code in codes if code is not None)

    def stop(self) -> None:
        """Let each finish its item and give back the rest; a second Ctrl-C ends them at once."""
        try:
            for process in self._processes:
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(signal.SIGTERM)
            for process in self._processes:
                self.completed_count += _said(process)
        finally:
            for process in self._processes:
                if process.poll() is None:
                    process.kill()
                    process.wait()


def _said(process: subprocess.Popen[bytes]) -> int:
    """Wait for a worker to end; return how many rows it says that it did."""
    try:
        out, _ = process.communicate(timeout=STOP_S_MAX)
    except subprocess.TimeoutExpired:
        return 0
    found = _COMPLETED.search(out)
    return int(found[1]) if found else 0


@contextmanager
def local_workers(
    worker: str,
    *,
    count: int,
    folder: Path,
    base_url: str,
    key: str,
    function_id: str,
    settings: Mapping[str, str],
) -> Iterator[Workers]:
    """Run ``count`` workers until the block ends.

    Args:
        worker: `module:function`.
        folder: Where its module is.
        settings: Variables for the workers, where the user has not set them.
    """
    environment = {
        **settings,
        **os.environ,
        "HEVLAYER_BASE_URL": base_url,
        "HEVLAYER_API_KEY": key,
        "HEVLAYER_UDF_ID": function_id,
        "PYTHONPATH": os.pathsep.join([str(folder), *filter(None, map(str, sys.path))]),
    }
    environment.pop("HEVLAYER_WORKER_ID", None)  # each needs its own
    command = [sys.executable, "-m", "layer_sdk", worker, "--while-stdin-open"]
    workers = Workers(
        [
            subprocess.Popen(  # noqa: S603 -- our own command
                command,
                env=environment,
                stdin=subprocess.PIPE,  # which is closed when we end, however we do
                stdout=subprocess.PIPE,
                process_group=0,  # Ctrl-C is for us, and we tell them
            )
            for _ in range(count)
        ]
    )
    try:
        yield workers
    finally:
        workers.stop()
