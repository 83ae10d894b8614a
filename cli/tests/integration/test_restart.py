"""A process that ends by itself is started again, and the others do not notice."""

from __future__ import annotations

import os
import signal

from layer_cli_testing.system import System, until


def test_a_killed_process_comes_back_where_it_was(system: System) -> None:
    system.start_ready()
    before = system.process("vectorstore")
    gateway = system.process("gateway")

    os.kill(before.pid or 0, signal.SIGKILL)
    after = system.wait_ready("vectorstore", restart_count=1)

    assert after.pid != before.pid
    assert after.addresses == before.addresses
    assert system.process("gateway") == gateway
    assert (
        "layer       | vectorstore was ended by signal 9 (Killed); restarting in 0.2 s"
        in system.stderr.splitlines()
    )


def test_the_pause_grows_with_each_crash(system: System) -> None:
    system.start_ready()

    for restart_count in (1, 2, 3):
        os.kill(system.process("cache").pid or 0, signal.SIGKILL)
        system.wait_ready("cache", restart_count=restart_count)

    pauses = [line.rsplit(" ", 2)[1] for line in system.stderr.splitlines() if "restarting" in line]
    assert pauses == ["0.2", "0.4", "0.8"]


def test_a_process_that_was_ready_is_restarted_even_when_it_refuses(system: System) -> None:
    system.start_ready()
    system.behave("cache", refuse="layer cache: cannot listen on its socket")

    os.kill(system.process("cache").pid or 0, signal.SIGKILL)
    until(lambda: "(layer cache: cannot listen on its socket); restarting" in system.stderr)
    system.behave("cache")

    until(lambda: system.process("cache").state == "ready")


def test_a_process_that_is_down_does_not_hold_up_the_end(system: System) -> None:
    supervisor = system.start_ready()
    system.behave("cache", refuse="layer cache: no")
    os.kill(system.process("cache").pid or 0, signal.SIGKILL)
    until(lambda: "restarting in 0.8 s" in system.stderr)

    supervisor.terminate()

    assert supervisor.wait(timeout=5) == 0
