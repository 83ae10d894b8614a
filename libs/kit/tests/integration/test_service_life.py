"""The life of a process: its command line, its ports, its end."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from grpc_health.v1 import health_pb2, health_pb2_grpc

from layer_kit.children import DEVNULL, start_child
from layer_kit.rpc.client import invoke, open_channel
from layer_kit.supervision import SUPERVISOR_VARIABLE, parse_listening_line
from layer_kit.telemetry.traces import FLUSH_S_MAX
from layer_testing.echo import EchoStub
from layer_testing.processes import ServiceProcess, child_environment, launch, running

ECHO = "layer_testing.echo"
DEADLINE_S = 10.0

# Starts the service as `layer up` does, hands its stdout on, and waits.
SUPERVISOR = f"""
import os, subprocess, sys
os.environ[{SUPERVISOR_VARIABLE!r}] = str(os.getpid())
subprocess.run([sys.executable, "-m", {ECHO!r}], check=False)
"""


@pytest.fixture
async def service() -> AsyncIterator[ServiceProcess]:
    async with running(ECHO) as process:
        yield process


async def outcome(*arguments: str, **environment: str) -> tuple[int, str, str]:
    """Run the service to its own end; return its exit code, stdout and stderr."""
    process = await start_child(
        *(sys.executable, "-m", ECHO, *arguments), env=child_environment(environment)
    )
    async with asyncio.timeout(DEADLINE_S):
        stdout, stderr = await process.communicate()
    assert process.returncode is not None
    return process.returncode, stdout.decode(), stderr.decode()


async def test_it_tells_its_ports_and_serves_them(service: ServiceProcess) -> None:
    assert set(service.addresses) == {"grpc", "ops"}
    async with open_channel(service.addresses["grpc"]) as channel:
        answer = await invoke(EchoStub(channel).say, StringValue(value="hi"), timeout_s=DEADLINE_S)
    assert answer.value == "hi"


@pytest.mark.parametrize(
    ("path", "status", "part"),
    [
        ("/livez", 200, '"status":"ok"'),
        ("/readyz", 200, '"ready":true'),
        ("/metrics", 200, "process_resident_memory_bytes"),
        ("/other", 404, "not_found"),
    ],
)
async def test_the_operations_port_answers(path: str, status: int, part: str) -> None:
    async with (
        running(ECHO) as service,
        aiohttp.ClientSession(f"http://{service.addresses['ops']}") as session,
        session.get(path) as answer,
    ):
        assert answer.status == status
        assert part in await answer.text()


async def test_sigterm_and_sigint_end_it_with_zero() -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        async with running(ECHO) as service:
            os.kill(service.pid, number)
            assert await service.wait() == 0
            assert "service_stopped" in service.stderr


async def test_sigterm_lets_a_running_call_finish(service: ServiceProcess) -> None:
    async with open_channel(service.addresses["grpc"]) as channel:
        answers = aiter(EchoStub(channel).count(StringValue(value="drain"), timeout=DEADLINE_S))
        assert (await anext(answers)).value == "started"
        stopping = asyncio.create_task(service.terminate())
        assert (await anext(answers)).value == "drain"
        assert await stopping == 0


async def test_sigterm_turns_it_unready_while_calls_run_and_it_still_lives() -> None:
    async with (
        running(ECHO) as service,
        open_channel(service.addresses["grpc"]) as channel,
        aiohttp.ClientSession(f"http://{service.addresses['ops']}") as operations,
    ):
        probe: Any = health_pb2_grpc.HealthStub(channel)
        changes = aiter(probe.Watch(health_pb2.HealthCheckRequest()))
        assert (await anext(changes)).status == health_pb2.HealthCheckResponse.SERVING
        answers = aiter(EchoStub(channel).count(StringValue(value="wait"), timeout=DEADLINE_S))
        assert (await anext(answers)).value == "started"

        os.kill(service.pid, signal.SIGTERM)

        assert (await anext(changes)).status == health_pb2.HealthCheckResponse.NOT_SERVING
        async with operations.get("/readyz") as ready, operations.get("/livez") as live:
            assert (ready.status, live.status) == (503, 200)
            assert (await ready.json())["components"]["draining"] == "shutting down"


async def test_a_collector_of_traces_that_is_away_does_not_hold_up_the_end() -> None:
    with socket.socket() as unserved:
        unserved.bind(("127.0.0.1", 0))  # never listens, and nobody else gets the port
        collector = f"http://127.0.0.1:{unserved.getsockname()[1]}"
        async with running(ECHO, OTEL_EXPORTER_OTLP_ENDPOINT=collector) as service:
            async with open_channel(service.addresses["grpc"]) as channel:
                await invoke(EchoStub(channel).say, StringValue(value="hi"), timeout_s=DEADLINE_S)
            async with asyncio.timeout(FLUSH_S_MAX + 2):
                assert await service.terminate() == 0


async def test_a_call_that_does_not_finish_is_cut_after_the_grace() -> None:
    async with (
        running(ECHO, LAYER_ECHO_SHUTDOWN_GRACE_S="0.1") as service,
        open_channel(service.addresses["grpc"]) as channel,
    ):
        answers = aiter(EchoStub(channel).count(StringValue(value="wait"), timeout=DEADLINE_S))
        assert (await anext(answers)).value == "started"
        assert await service.terminate() == 0


async def test_a_taken_port_is_told_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        for variable in ("LAYER_ECHO_GRPC_ADDRESS", "LAYER_ECHO_OPS_ADDRESS"):
            code, stdout, stderr = await outcome(**{variable: address})
            assert (code, stdout) == (2, "")
            assert told(stderr) == f"layer echo: cannot listen on {address}: Address already in use"


def told(stderr: str) -> str:
    """Return the one line, less what gRPC's core writes by itself."""
    lines = [line for line in stderr.splitlines() if line.startswith("layer ")]
    assert "Traceback" not in stderr
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize(
    ("variable", "value", "line"),
    [
        (
            "LAYER_ECHO_GRPC_ADRESS",
            "127.0.0.1:0",
            "LAYER_ECHO_GRPC_ADRESS is not a setting; did you mean LAYER_ECHO_GRPC_ADDRESS?",
        ),
        (
            "LAYER_ECHO_SHUTDOWN_GRACE_S",
            "-1",
            "LAYER_ECHO_SHUTDOWN_GRACE_S: Input should be greater than or equal to 0",
        ),
        (
            "LAYER_ECHO_GRPC_ADDRESS",
            "localhost",
            "address 'localhost' is neither host:port nor unix:/path",
        ),
    ],
)
async def test_a_bad_setting_is_told_in_one_line(variable: str, value: str, line: str) -> None:
    code, _, stderr = await outcome(**{variable: value})
    assert (code, stderr) == (2, f"layer echo: {line}\n")


async def test_help_shows_every_setting() -> None:
    code, stdout, _ = await outcome("--help")
    assert code == 0
    assert "LAYER_ECHO_GRPC_ADDRESS  [127.0.0.1:0]" in stdout
    assert "Where the gRPC server listens." in stdout
    assert "LAYER_ECHO_TOKEN" in stdout


async def test_print_config_shows_what_is_in_force_and_no_secret() -> None:
    code, stdout, stderr = await outcome(
        "--print-config", LAYER_ECHO_TOKEN="hunter2", LAYER_ECHO_LOG_LEVEL="debug"
    )
    assert code == 0
    assert "LAYER_ECHO_LOG_LEVEL=debug" in stdout
    assert "LAYER_ECHO_TOKEN=**********" in stdout
    assert "hunter2" not in stdout + stderr


async def test_logs_are_json_and_name_the_service(service: ServiceProcess) -> None:
    await service.terminate()
    lines = service.stderr.splitlines()
    assert lines
    assert all('"service":"echo"' in line.replace(" ", "") for line in lines)


async def test_it_dies_with_its_supervisor_even_by_sigkill() -> None:
    supervisor = await start_child(
        *(sys.executable, "-c", SUPERVISOR), env=child_environment({}), stderr=DEVNULL
    )
    assert supervisor.stdout is not None
    async with asyncio.timeout(DEADLINE_S):
        assert parse_listening_line((await supervisor.stdout.readline()).decode())
        supervisor.kill()
        # The service holds the other end: this ends when it does.
        assert await supervisor.stdout.read() == b""
        await supervisor.wait()


async def test_it_does_not_outlive_a_supervisor_that_is_gone_already() -> None:
    code, stdout, _ = await outcome(**{SUPERVISOR_VARIABLE: "1" * 7})
    assert (code, stdout) == (0, "")


async def test_a_start_that_fails_is_reported_with_its_log() -> None:
    with pytest.raises(RuntimeError, match="is neither host:port"):
        async with running(ECHO, LAYER_ECHO_GRPC_ADDRESS="nowhere"):
            pass


async def test_a_killed_process_is_gone_at_once() -> None:
    service = await launch(ECHO)
    assert await service.kill() == -signal.SIGKILL
