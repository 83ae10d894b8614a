from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from layer_cli.environment import KNOWN, refuse_unknown_variables
from layer_cli.up.home import Home, open_home
from layer_cli.up.plan import (
    ON_SOCKETS,
    Options,
    local_system,
    refuse_missing_packages,
    remove_left_caches,
)
from layer_cli.up.specs import ProcessSpec
from layer_kit.configuration import ConfigurationError

OPTIONS = Options(
    http_port=8080, grpc_port=7100, upstream=None, replicas={}, log_level=None, log_format="json"
)
STORE = {"vectorstore": {"http": "127.0.0.1:4000"}}


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with open_home(tmp_path, socket_names=ON_SOCKETS) as home:
        yield home


def environment_of(spec: ProcessSpec, **learned: str) -> Mapping[str, str]:
    return spec.environment({}, learned=learned, addresses_of=STORE)


def gateways(home: Home, options: Options) -> list[ProcessSpec]:
    return [spec for spec in local_system(home, options, {}) if spec.service == "gateway"]


def test_the_plan_is_in_the_order_of_readiness(home: Home) -> None:
    specs = local_system(home, OPTIONS, {})

    names = [spec.name for spec in specs]
    assert names == [
        *("vectorstore", "postgres", "cache", "snapshots", "history", "runtime", "gateway")
    ]
    assert specs[-1].after == tuple(names[:-1])
    assert {spec.name: spec.after for spec in specs[:-1] if spec.after} == {
        "runtime": ("postgres",)
    }


def test_the_runtime_learns_where_the_database_is(home: Home) -> None:
    database = {"postgres": {"postgres": "postgresql:///layer?host=/run"}}

    runtime = next(one for one in local_system(home, OPTIONS, {}) if one.name == "runtime")
    environment = runtime.environment({}, learned={}, addresses_of=database)

    assert environment["LAYER_RUNTIME_DATABASE_URL"] == "postgresql:///layer?host=/run"


@pytest.mark.parametrize(
    "variable", ["DATABASE_URL", "DATABASE_URL_FILE", "LAYER_RUNTIME_DATABASE_URL"]
)
def test_a_database_of_the_user_takes_the_place_of_ours(home: Home, variable: str) -> None:
    specs = local_system(home, OPTIONS, {variable: "postgresql://db/layer"})

    assert "postgres" not in {spec.name for spec in specs}
    runtime = next(spec for spec in specs if spec.name == "runtime")
    environment = runtime.environment({variable: "mine"}, learned={}, addresses_of={})
    assert environment[variable] == "mine"
    assert runtime.after == ()


def test_what_port_0_became_is_kept_on_a_restart(home: Home) -> None:
    vectorstore = local_system(home, OPTIONS, {})[0]

    first = environment_of(vectorstore)
    again = environment_of(vectorstore, http="127.0.0.1:4000", ops="127.0.0.1:4001")

    assert first["LAYER_VECTORSTORE_HTTP_ADDRESS"] == "127.0.0.1:0"
    assert again["LAYER_VECTORSTORE_HTTP_ADDRESS"] == "127.0.0.1:4000"
    assert again["LAYER_VECTORSTORE_OPS_ADDRESS"] == "127.0.0.1:4001"


def test_the_first_gateway_has_the_chosen_ports_and_replicas_the_next(home: Home) -> None:
    ports = [
        (environment["LAYER_GATEWAY_HTTP_ADDRESS"], environment["LAYER_GATEWAY_GRPC_ADDRESS"])
        for environment in map(
            environment_of, gateways(home, replace(OPTIONS, replicas={"gateway": 2}, grpc_port=0))
        )
    ]
    assert ports == [("127.0.0.1:8080", "127.0.0.1:0"), ("127.0.0.1:8081", "127.0.0.1:0")]


def test_each_cache_has_a_place_of_its_own_and_gateways_know_them_all(home: Home) -> None:
    options = replace(OPTIONS, replicas={"cache": 3})
    specs = local_system(home, options, {})

    names = ["cache", "cache-2", "cache-3"]
    caches = [spec for spec in specs if spec.service == "cache"]
    assert [spec.name for spec in caches] == names
    assert set(names) < set(options.socket_names)
    user = {"LAYER_CACHE_DATA_DIRECTORY": "/elsewhere"}
    environments = [spec.environment(user, learned={}, addresses_of={}) for spec in caches]
    directories = [environment["LAYER_CACHE_DATA_DIRECTORY"] for environment in environments]
    assert directories == [str(home.path / name) for name in names]
    addresses = [environment["LAYER_CACHE_GRPC_ADDRESS"] for environment in environments]
    assert addresses == [home.socket_address(name) for name in names]
    known = environment_of(gateways(home, options)[0])["LAYER_GATEWAY_CACHE_ADDRESS"]
    assert known == ",".join(addresses)


def test_what_a_cache_held_that_no_longer_runs_is_removed(home: Home) -> None:
    for name in ("cache", "cache-2", "cache-3", "vectorstore"):
        (home.path / name).mkdir()
    remove_left_caches(home, replace(OPTIONS, replicas={"cache": 2}))
    kept = {path.name for path in home.path.iterdir()} - {"run"}
    assert kept == {"cache", "cache-2", "vectorstore"}


@pytest.mark.parametrize(
    ("grace_s", "stop_s_max"), [("100", 105), ("inf", 605), ("nan", 5), ("-1", 5), ("long", 15)]
)
def test_a_service_gets_its_own_grace_before_it_is_killed(
    home: Home, grace_s: str, stop_s_max: float
) -> None:
    specs = local_system(home, OPTIONS, {"LAYER_CACHE_SHUTDOWN_GRACE_S": grace_s})

    assert {spec.name: spec.stop_s_max for spec in specs}["cache"] == stop_s_max
    assert {spec.name: spec.stop_s_max for spec in specs}["gateway"] == 15


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"replicas": {"gateway": 17}}, "the number must be 1 to 16"),
        ({"replicas": {"gateway": 0}}, "the number must be 1 to 16"),
        ({"replicas": {"history": 2}}, "only gateway, cache can be replicated"),
        ({"replicas": {"gateway": 2}, "http_port": 65535}, "would be above 65535"),
        ({"upstream": "store.example"}, "is not a URL"),
    ],
    ids=["too-many", "none", "not-replicable", "port-past-the-last", "no-scheme"],
)
def test_options_out_of_range_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        replace(OPTIONS, **changes)


def test_a_service_that_is_not_installed_is_refused_before_anything_starts() -> None:
    spec = ProcessSpec(name="ghost", service="ghost", command=(), listens=())
    with pytest.raises(ConfigurationError, match="package layer_ghost is not installed"):
        refuse_missing_packages((spec,))


@pytest.mark.parametrize(
    "name",
    [*KNOWN, "LAYER_CACHE_ANYTHING", "LAYER_SECRET_STORE_KEY", "LAYER_TEST_SEED", "PLAYER_ONE"],
)
def test_known_names_pass(name: str) -> None:
    refuse_unknown_variables({name: ""})


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("LAYER_HOEM", "LAYER_HOME"),
        ("LAYER_SHARDS_COUNT", "LAYER_SHARD_COUNT"),
        ("LAYER_SNAPSHOT_", "LAYER_SNAPSHOTS_"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_known_one(name: str, suggestion: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{name} is not a setting.*mean {suggestion}?"):
        refuse_unknown_variables({**os.environ, name: "1"})
