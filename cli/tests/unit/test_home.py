from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from layer_cli.up.home import SOCKET_PATH_BYTES_MAX, is_owned, open_home, state_file
from layer_cli.up.state import (
    ProcessRecord,
    ProcessState,
    SystemRecord,
    read_state,
    write_state,
)
from layer_kit.configuration import ConfigurationError

RECORD = SystemRecord(
    supervisor_pid=7,
    processes=(
        ProcessRecord(
            name="gateway-2",
            service="gateway",
            state=ProcessState.RESTARTING,
            pid=None,
            addresses={"http": "127.0.0.1:1"},
            restart_count=3,
        ),
    ),
)


@pytest.fixture
def deep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield a home whose own sockets would have too long a name."""
    with tempfile.TemporaryDirectory() as short:
        monkeypatch.setattr(tempfile, "tempdir", short)
        yield tmp_path / ("d" * SOCKET_PATH_BYTES_MAX)


def test_a_home_is_owned_while_it_is_open(tmp_path: Path) -> None:
    assert not is_owned(tmp_path)
    with open_home(tmp_path, socket_names=["a"]):
        assert is_owned(tmp_path)
    assert not is_owned(tmp_path)


def test_the_same_deep_home_gets_the_same_socket_directory(deep: Path) -> None:
    addresses = []
    for _ in range(2):
        with open_home(deep, socket_names=["cache"]) as home:
            addresses.append(home.socket_address("cache"))
            assert len(os.fsencode(addresses[-1].removeprefix("unix:"))) <= SOCKET_PATH_BYTES_MAX
    assert addresses[0] == addresses[1]


def test_a_socket_directory_that_others_can_enter_is_refused(deep: Path) -> None:
    with open_home(deep, socket_names=["cache"]) as home:
        directory = home.sockets
    directory.mkdir(mode=0o755)

    with (
        pytest.raises(ConfigurationError, match="is not a private directory of yours"),
        open_home(deep, socket_names=["cache"]),
    ):
        pass


def test_the_state_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    write_state(path, RECORD)

    assert read_state(path) == RECORD
    assert [entry.name for entry in tmp_path.iterdir()] == ["state.json"]


def test_no_state_is_none(tmp_path: Path) -> None:
    assert read_state(state_file(tmp_path)) is None
