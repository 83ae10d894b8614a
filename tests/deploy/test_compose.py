"""The stack of compose.yaml: its parts fit each other and the services' settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.settings_variables import known_variables

Json = dict[str, Any]

COMPOSE: Json = yaml.safe_load(Path("compose.yaml").read_text(encoding="utf-8"))
STACK: dict[str, Json] = COMPOSE["services"]
SERVICES = ("gateway", "cache", "vectorstore", "snapshots", "history", "runtime")
GRACE_S = 10


def test_the_stack_is_the_whole_product() -> None:
    assert tuple(STACK) == SERVICES


def test_only_the_gateway_is_published_and_only_to_this_machine() -> None:
    published = {name: service["ports"] for name, service in STACK.items() if "ports" in service}
    assert published == {"gateway": ["127.0.0.1:8080:8080", "127.0.0.1:7100:7100"]}


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_built_from_the_one_dockerfile(name: str) -> None:
    build = STACK[name]["build"]
    assert build["args"] == {"SERVICE": name}
    assert Path(build["context"], build["dockerfile"]).is_file()
    assert STACK[name]["image"].startswith(f"layer-{name}:")


@pytest.mark.parametrize("name", SERVICES)
def test_every_variable_is_a_setting_of_its_service(name: str) -> None:
    assert set(STACK[name]["environment"]) <= known_variables(name)


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_cannot_gain_rights_or_write_outside_its_volumes(name: str) -> None:
    service = STACK[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["tmpfs"] == ["/tmp"]  # noqa: S108 -- inside the container
    kinds = [f"LAYER_{name.upper()}_{kind}_DIRECTORY" for kind in ("DATA", "OBJECTS")]
    directory = next((path for kind in kinds if (path := service["environment"].get(kind))), None)
    assert service.get("volumes") == ([f"{name}:{directory}"] if directory else None)


def test_every_volume_and_network_is_declared_and_used() -> None:
    used = {
        volume.partition(":")[0]
        for service in STACK.values()
        for volume in service.get("volumes", [])
    }
    assert used == set(COMPOSE["volumes"])
    assert {tuple(service["networks"]) for service in STACK.values()} == {
        tuple(COMPOSE["networks"])
    }


@pytest.mark.parametrize("name", SERVICES)
def test_health_is_asked_where_the_service_answers(name: str) -> None:
    port = _port(STACK[name]["environment"][f"LAYER_{name.upper()}_OPS_ADDRESS"])
    assert f"http://127.0.0.1:{port}/readyz" in STACK[name]["healthcheck"]["test"][-1]


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_outlives_its_drain(name: str) -> None:
    assert int(STACK[name]["stop_grace_period"].removesuffix("s")) > GRACE_S


def test_the_gateway_calls_services_where_they_listen_and_waits_for_them() -> None:
    gateway = STACK["gateway"]["environment"]
    cache = _port(STACK["cache"]["environment"]["LAYER_CACHE_GRPC_ADDRESS"])
    store = _port(STACK["vectorstore"]["environment"]["LAYER_VECTORSTORE_HTTP_ADDRESS"])
    assert gateway["LAYER_GATEWAY_CACHE_ADDRESS"] == f"dns:///cache:{cache}"
    assert gateway["LAYER_GATEWAY_UPSTREAM_URL"] == f"http://vectorstore:{store}"
    waits = STACK["gateway"]["depends_on"]
    assert {name: wait["condition"] for name, wait in waits.items()} == {
        "vectorstore": "service_healthy",
        "cache": "service_healthy",
    }


def _port(address: str) -> int:
    return int(address.rpartition(":")[2])
