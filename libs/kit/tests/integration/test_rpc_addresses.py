"""Where a gRPC server listens, and what it says when it cannot."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from layer_kit.addresses import TcpAddress, bind_fault
from layer_kit.configuration import ConfigurationError
from layer_kit.rpc.client import open_channel
from layer_testing.echo import EchoStub
from layer_testing.echo_server import EchoServer, call, serve


async def test_a_unix_socket_serves_and_replaces_what_a_killed_process_left(
    tmp_path: Path,
) -> None:
    path = tmp_path / "s"
    leave_socket(path)
    async with serve(f"unix:{path}") as server, open_channel(server.address) as channel:
        assert server.address == f"unix:{path}"
        assert await call(EchoStub(channel), "Say", "hello") == ["hello"]


def leave_socket(path: Path) -> None:
    """Make a socket that nobody listens on, as a process does that is killed."""
    with socket.socket(socket.AF_UNIX) as abandoned:
        abandoned.bind(str(path))


async def test_a_socket_that_is_served_already_is_left_alone(tmp_path: Path) -> None:
    address = f"unix:{tmp_path / 's'}"
    async with serve(address):
        with pytest.raises(ConfigurationError) as caught:
            async with serve(address):
                pass
        assert str(caught.value) == f"cannot listen on {address}: Address already in use"
        async with open_channel(address) as channel:
            assert await call(EchoStub(channel), "Say", "still here") == ["still here"]


async def test_a_file_that_is_no_socket_is_never_removed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("data")
    with pytest.raises(ConfigurationError, match="it is a file of another kind"):
        async with serve(f"unix:{precious}"):
            pass
    assert precious.read_text() == "data"


@pytest.mark.parametrize(
    ("address", "cause"),
    [
        ("unix:/no/such/folder/s", "No such file or directory"),
        (f"unix:/{'x' * 120}", "AF_UNIX path too long"),
        ("192.0.2.1:0", "Cannot assign requested address"),
    ],
)
async def test_an_address_that_cannot_be_bound_is_told_with_its_cause(
    address: str, cause: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        async with serve(address):
            pass
    assert str(caught.value) == f"cannot listen on {address}: {cause}"


async def test_an_address_of_ip_version_6_keeps_its_brackets() -> None:
    if bind_fault(TcpAddress(host="::1", port=0)):
        pytest.skip("this machine has no IPv6")
    async with serve("[::1]:0") as server, open_channel(server.address) as channel:
        assert server.address.startswith("[::1]:")
        assert await call(EchoStub(channel), "Say", "six") == ["six"]


async def test_a_taken_port_is_a_configuration_error(server: EchoServer) -> None:
    with pytest.raises(ConfigurationError) as caught:
        async with serve(server.address):
            pass
    assert str(caught.value) == f"cannot listen on {server.address}: Address already in use"
