"""`layer status` reads what the supervisor wrote and asks each process itself."""

from __future__ import annotations

import json

from layer_cli_testing.system import SERVICES, System


def test_status_shows_a_table_names_or_json(system: System) -> None:
    system.start_ready()

    table = system.run("status")
    names = system.run("status", "-o", "names")
    document = json.loads(system.run("status", "-o", "json").stdout)

    assert table.returncode == 0
    assert table.stdout.count("ready") == len(SERVICES)
    assert names.stdout.split() == list(SERVICES)
    assert document["supervisor_pid"] == system.supervisors[0].pid
    assert document["home"] == str(system.home)
    gateway = document["processes"][-1]
    assert gateway["name"] == "gateway"
    assert gateway["state"] == "ready"
    assert gateway["addresses"]["http"] == system.process("gateway").addresses["http"]


def test_status_fails_when_a_process_stops_answering(system: System) -> None:
    system.start_ready()
    system.behave("cache", unready=True)

    ended = system.run("status", "--output=json")

    assert ended.returncode == 1
    states = {one["name"]: one["state"] for one in json.loads(ended.stdout)["processes"]}
    assert states == {**dict.fromkeys(SERVICES, "ready"), "cache": "unready"}


def test_status_of_a_home_where_nothing_runs_says_so(system: System) -> None:
    never = system.run("status")
    supervisor = system.start_ready()
    supervisor.kill()
    supervisor.wait()
    killed = system.run("status")

    for ended in (never, killed):
        assert ended.returncode == 1
        assert ended.stderr == (
            f"layer status: nothing runs in {system.home}; start it with `layer up`\n"
        )
