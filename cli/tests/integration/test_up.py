"""`layer up` as a process: order, output, faults and the end."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from layer_cli_testing.system import SERVICES, System, is_alive, until

OTHERS = [service for service in SERVICES if service != "gateway"]


def test_the_gateway_comes_last_and_goes_first(system: System) -> None:
    supervisor = system.start_ready()

    supervisor.terminate()

    assert supervisor.wait() == 0, system.stderr
    for service in OTHERS:
        assert system.moment(service, "ready") < system.moment("gateway", "started")
        assert system.moment("gateway", "stopped") < system.moment(service, "stopping")


def test_the_welcome_shows_addresses_a_first_request_and_the_data(system: System) -> None:
    system.start_ready()

    edge = system.process("gateway").addresses["http"]
    assert f"http://{edge}" in system.stdout
    assert f"curl -sS http://{edge}/v2/namespaces/books/query" in system.stdout
    assert f"unix:{system.home}/run/cache.sock" in system.stdout
    assert f"Data is in {system.home}" in system.stdout
    for pid in system.pids:
        assert str(pid) in system.stdout


def test_services_learn_where_the_others_are(system: System) -> None:
    system.start_ready()

    gateway = system.environment_of("gateway")
    store = system.process("vectorstore").addresses["http"]
    assert gateway["LAYER_GATEWAY_UPSTREAM_URL"] == f"http://{store}"
    assert gateway["LAYER_GATEWAY_CACHE_ADDRESS"] == system.process("cache").addresses["grpc"]
    assert gateway["LAYER_SUPERVISOR_PID"] == str(system.supervisors[0].pid)
    assert system.environment_of("cache")["LAYER_CACHE_DATA_DIRECTORY"] == f"{system.home}/cache"


def test_a_variable_of_the_user_wins_unless_it_is_an_address(system: System) -> None:
    system.start_ready(
        "--log-level=debug",
        LAYER_CACHE_DATA_DIRECTORY="/elsewhere",
        LAYER_CACHE_LOG_LEVEL="error",
        LAYER_CACHE_GRPC_ADDRESS="127.0.0.1:7101",
    )

    cache = system.environment_of("cache")
    assert cache["LAYER_CACHE_DATA_DIRECTORY"] == "/elsewhere"
    assert cache["LAYER_CACHE_LOG_LEVEL"] == "error"
    assert cache["LAYER_CACHE_GRPC_ADDRESS"] == f"unix:{system.home}/run/cache.sock"
    assert "layer up: LAYER_CACHE_GRPC_ADDRESS is not used" in system.stderr
    assert system.environment_of("history")["LAYER_HISTORY_LOG_LEVEL"] == "debug"


def test_an_upstream_takes_the_place_of_the_embedded_store(system: System) -> None:
    system.start_ready("--upstream=https://store.example", TURBOPUFFER_API_KEY="key")

    gateway = system.environment_of("gateway")
    assert gateway["LAYER_GATEWAY_UPSTREAM_URL"] == "https://store.example"
    assert gateway["TURBOPUFFER_API_KEY"] == "key"
    assert "vectorstore" not in {name for name, _, _ in system.events}


def test_gateways_are_replicated_each_on_its_own_port(system: System) -> None:
    system.start_ready("--replicas=gateway=3")

    edges = {
        one.addresses["http"]
        for one in system.state.processes  # type: ignore[union-attr]
        if one.service == "gateway"
    }
    assert len(edges) == 3
    assert all(f"http://{edge}" in system.stdout for edge in edges)


def test_log_lines_carry_the_name_of_their_process_whatever_is_written(system: System) -> None:
    system.behave("cache", log="x" * 200_000)
    system.start_ready()
    until(lambda: system.stderr.count("says hello") == len(SERVICES) - 1)

    lines = system.stderr.splitlines()
    assert "gateway     | gateway says hello" in lines
    assert "gateway     | not an address" in lines
    assert sum(len(line) for line in lines if line.startswith("cache       | x")) > 200_000
    assert max(len(line) for line in lines) < 70_000
    assert all(" | " in line[:15] for line in lines)


def test_quiet_hides_the_services_logs_but_not_what_the_supervisor_says(system: System) -> None:
    supervisor = system.start_ready("--quiet")
    supervisor.terminate()

    assert supervisor.wait() == 0
    assert "says hello" not in system.stderr
    assert "stopping" in system.stderr


def test_a_refused_configuration_is_one_line_and_leaves_nothing_behind(system: System) -> None:
    line = "layer gateway: cannot listen on 127.0.0.1:8080: Address already in use"
    system.behave("gateway", refuse=line)

    assert system.start().wait() == 2
    assert system.stderr.splitlines() == [line]
    assert system.state is None
    assert not [pid for _, _, pid in system.events if is_alive(pid)]


def test_a_system_that_is_not_ready_in_time_is_stopped_and_named(system: System) -> None:
    system.behave("history", unready=True)

    assert system.start("--ready-timeout=1.5").wait() == 1
    last = system.stderr.splitlines()[-1]
    assert last == "layer up: not ready after 1.5 s: history (starting), gateway (waiting)"
    assert not [pid for _, _, pid in system.events if is_alive(pid)]


def test_a_second_system_in_the_same_home_is_refused(system: System) -> None:
    first = system.start_ready()

    second = system.run("up", "--http-port=0", "--grpc-port=0")

    assert second.returncode == 2
    assert second.stderr == (
        f"layer: another `layer up` (pid {first.pid}) runs in {system.home}; "
        "stop it, or choose another --home\n"
    )
    assert first.poll() is None
    assert all(is_alive(pid) for pid in system.pids)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_everything_and_removes_sockets_and_state(
    system: System, number: signal.Signals
) -> None:
    supervisor = system.start_ready()
    pids = system.pids

    supervisor.send_signal(number)

    assert supervisor.wait() == 0
    assert not [pid for pid in pids if is_alive(pid)]
    assert sorted(path.name for path in (system.home / "run").iterdir()) == [
        "lock",
        "processes.lock",
    ]


def test_a_signal_while_starting_stops_what_had_started(system: System) -> None:
    system.behave("history", unready=True)
    supervisor = system.start()
    until(lambda: ("cache", "ready") in [event[:2] for event in system.events])

    supervisor.terminate()

    assert supervisor.wait() == 0
    assert "gateway" not in {name for name, _, _ in system.events}
    assert not [pid for _, _, pid in system.events if is_alive(pid)]


def test_a_second_signal_kills_at_once(system: System) -> None:
    system.behave("gateway", deaf=True)
    supervisor = system.start_ready()
    supervisor.send_signal(signal.SIGINT)
    until(lambda: ("gateway", "stopping") in [event[:2] for event in system.events])

    supervisor.send_signal(signal.SIGINT)

    assert supervisor.wait(timeout=5) == 0
    assert not [pid for _, _, pid in system.events if is_alive(pid)]


def test_a_home_too_deep_for_sockets_has_them_in_a_private_directory(system: System) -> None:
    system.home = system.home / ("d" * 100)
    supervisor = system.start_ready()
    address = system.process("cache").addresses["grpc"].removeprefix("unix:")
    directory = Path(address).parent

    assert not directory.is_relative_to(system.home)
    assert directory.stat().st_mode & 0o777 == 0o700
    supervisor.terminate()
    assert supervisor.wait() == 0
    assert not directory.exists()


def test_a_home_that_cannot_be_written_is_one_line(system: System, tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.touch()

    ended = system.run("up", f"--home={in_the_way}/home")

    assert ended.returncode == 2
    assert ended.stderr == (
        f"layer: cannot write to {in_the_way}/home: Not a directory; "
        "choose another directory with --home\n"
    )


def test_no_process_outlives_a_killed_supervisor(system: System) -> None:
    supervisor = system.start_ready()
    pids = system.pids

    supervisor.kill()
    supervisor.wait()

    until(lambda: not [pid for pid in pids if is_alive(pid)])


def test_a_system_waits_for_the_processes_of_a_killed_one(system: System) -> None:
    system.behave("cache", drain_s=0.7)
    first = system.start_ready()
    first.kill()
    first.wait()

    system.start_ready()

    moments = [(what, pid) for name, what, pid in system.events if name == "cache"]
    (_, old), (_, new) = moments[0], moments[-1]
    assert moments.index(("stopped", old)) < moments.index(("started", new))


def test_a_reader_of_the_logs_may_leave(system: System) -> None:
    reader, writer = os.pipe()
    supervisor = system.start_ready(stderr=writer)
    os.close(writer)
    os.close(reader)
    os.kill(system.process("cache").pid or 0, signal.SIGKILL)

    system.wait_ready("cache", restart_count=1)
    supervisor.terminate()

    assert supervisor.wait() == 0


def test_a_table_that_cannot_be_printed_does_not_stop_the_system(system: System) -> None:
    with Path("/dev/full").open("w") as full:
        supervisor = system.start(stdout=full.fileno())
    until(lambda: "everything is ready, but stdout is gone" in system.stderr)

    assert supervisor.poll() is None
    assert all(is_alive(pid) for pid in system.pids)
