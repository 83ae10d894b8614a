"""One `layer up`, from the first process to the last: signals, logs, state file, welcome."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Mapping, Sequence

from layer_cli.up.home import Home
from layer_cli.up.logs import LogStream
from layer_cli.up.specs import ProcessSpec
from layer_cli.up.state import SystemRecord, write_state
from layer_cli.up.supervisor import Supervisor

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


async def run_session(
    specs: Sequence[ProcessSpec],
    home: Home,
    *,
    environment: Mapping[str, str],
    logs: LogStream,
    on_ready: Callable[[SystemRecord], None],
    ready_s_max: float,
) -> None:
    """Run the processes until a signal says stop; a second one ends them at once.

    Args:
        specs: The plan.
        home: Where the state file is kept.
        environment: Inherited by every process.
        logs: Where output goes.
        on_ready: Gets the record of the system once everything is ready.
        ready_s_max: Seconds until then at most.

    Raises:
        ConfigurationError: A process refused its configuration.
        NotReadyError: ``ready_s_max`` went by.
    """

    def record_state(record: SystemRecord) -> None:
        try:
            write_state(home.state_file, record)
        except OSError as error:
            # A full disk is no reason to stop serving; the file only informs.
            logs.say(f"cannot write {home.state_file}: {error.strerror}")

    supervisor = Supervisor(
        specs,
        environment=environment,
        logs=logs,
        on_change=record_state,
        inherited_descriptors=(home.processes_lock,),
    )

    def ready() -> None:
        on_ready(supervisor.record)
        logs.release()

    signal_count = 0

    def stop() -> None:
        nonlocal signal_count
        signal_count += 1
        if signal_count > 1:
            supervisor.kill()
            return
        logs.say("stopping; a second Ctrl-C ends everything at once")
        supervisor.request_stop()

    loop = asyncio.get_running_loop()
    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, stop)
    await supervisor.run(ready_s_max=ready_s_max, on_ready=ready)


def stderr_logs(specs: Sequence[ProcessSpec], *, is_coloured: bool, is_quiet: bool) -> LogStream:
    """Return the stream on which the processes of a plan log."""
    names = [spec.name for spec in specs]
    return LogStream(sys.stderr.buffer, names, is_coloured=is_coloured, is_quiet=is_quiet)
