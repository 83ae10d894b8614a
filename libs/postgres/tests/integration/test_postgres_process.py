"""The local PostgreSQL as a process: its life, its data, and nothing that outlives it."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path

import asyncpg
import pytest

from layer_kit.children import start_child
from layer_postgres.installation import PACKAGE
from layer_testing.postgres import database_folder
from layer_testing.processes import ServiceProcess, child_environment, launch, running

MODULE = "layer_postgres"
ROOT = 0


@pytest.fixture
def folder() -> Iterator[Path]:
    with database_folder() as path:
        yield path


def environment(folder: Path) -> dict[str, str]:
    return {
        "LAYER_POSTGRES_DATA_DIRECTORY": str(folder / "data"),
        "LAYER_POSTGRES_SOCKET_DIRECTORY": str(folder / "run"),
    }


@asynccontextmanager
async def connected(service: ServiceProcess) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    connection = await asyncpg.connect(service.addresses["postgres"])
    try:
        yield connection
    finally:
        await connection.close()


def server_pid(folder: Path) -> int:
    return int((folder / "data/data/postmaster.pid").read_text().split()[0])


def command_line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()


async def ended(pid: int) -> None:
    """Wait for the end of a process that is not our child."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    readable = asyncio.Event()
    asyncio.get_running_loop().add_reader(descriptor, readable.set)
    await asyncio.wait_for(readable.wait(), 30)
    asyncio.get_running_loop().remove_reader(descriptor)
    os.close(descriptor)


async def test_data_survives_a_restart_and_what_a_clean_stop_leaves_is_no_process(
    folder: Path,
) -> None:
    async with running(MODULE, **environment(folder)) as service:
        async with connected(service) as connection:
            await connection.execute("CREATE TABLE kept AS SELECT 7 AS number")
        pid = server_pid(folder)
        assert await service.terminate() == 0
        await ended(pid)

    async with running(MODULE, **environment(folder)) as service, connected(service) as connection:
        assert await connection.fetchval("SELECT number FROM kept") == 7


async def test_whoever_dies_first_the_other_ends_too(folder: Path) -> None:
    async with running(MODULE, **environment(folder)) as service:
        pid = server_pid(folder)
        service.process.send_signal(signal.SIGKILL)  # not its group: the server is to notice
        await service.wait()
        await ended(pid)

    # The data is whole: the server had its fast shutdown.
    async with running(MODULE, **environment(folder)) as service:
        os.kill(server_pid(folder), signal.SIGKILL)
        assert await service.wait() == 0
        assert "postgres_ended" in service.stderr

    async with running(MODULE, **environment(folder)) as service, connected(service) as connection:
        assert await connection.fetchval("SELECT 1") == 1


async def test_binaries_may_lie_where_only_we_may_look(folder: Path) -> None:
    private = folder / "private"
    private.mkdir(mode=0o700)
    spec = find_spec(PACKAGE)
    assert spec is not None
    assert spec.origin is not None
    package = Path(spec.origin).parent
    for source in (package, *package.parent.glob(f"{PACKAGE}.libs")):
        shutil.copytree(source, private / source.name)
    paths = f"{private}{os.pathsep}{child_environment({})['PYTHONPATH']}"
    async with (
        running(MODULE, PYTHONPATH=paths, **environment(folder)) as service,
        connected(service) as connection,
    ):
        assert command_line(server_pid(folder)).startswith(str(private))
        assert await connection.fetchval("SELECT 1") == 1


async def test_a_start_that_was_cut_short_is_made_good(folder: Path) -> None:
    half = folder / "data" / "data.new" / "base"
    half.mkdir(parents=True)
    async with running(MODULE, **environment(folder)) as service, connected(service) as connection:
        assert await connection.fetchval("SELECT current_database()") == "layer"


async def test_data_of_another_version_is_refused_in_one_line(folder: Path) -> None:
    old = folder / "data" / "data"
    old.mkdir(parents=True)
    (old / "PG_VERSION").write_text("12\n")
    service = await launch(MODULE, **environment(folder))
    assert await service.wait() == 2
    assert "was written by PostgreSQL 12" in service.stderr
    assert service.stderr.count("\n") == 1


@pytest.mark.skipif(os.geteuid() != ROOT, reason="the other tests are of an ordinary user")
async def test_an_ordinary_user_runs_it_as_root_does(folder: Path) -> None:
    shutil.chown(folder, "nobody", "nogroup")
    # The capability only lets it read the interpreter, wherever that is.
    user = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
    reading = ["--securebits=+no_setuid_fixup"]
    reading += ["--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
    child = await start_child(
        *(*user, *reading, "--", sys.executable, "-P", "-m", MODULE),
        env=child_environment(environment(folder)),
        start_new_session=True,
    )
    service = ServiceProcess(child, MODULE)
    try:
        async with asyncio.timeout(30):
            await service.read_addresses()
        async with connected(service) as connection:
            assert await connection.fetchval("SELECT 1") == 1
    finally:
        await service.stop()
