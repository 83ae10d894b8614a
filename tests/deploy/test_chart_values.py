"""The values that the charts accept, and what is written about them."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

helm = pytest.importorskip(
    "helm_python", reason="needs helm-python-sdk, which the resolve `deploy` has"
)

from deploy.helm.chart_reference import (  # noqa: E402
    SERVICES,
    chart_of,
    documented_values,
    generated_files,
)
from tests.deploy.releases import (  # noqa: E402
    STATELESS,
    Json,
    render,
    render_service,
    required_values,
)

BAD_VALUES: dict[str, Json] = {
    "an unknown value": {"replicas": 2},
    "an unknown value inside": {"image": {"version": "1"}},
    "a number of pods as text": {"replicaCount": "two"},
    "too many pods": {"replicaCount": 1000},
    "a level that does not exist": {"logLevel": "trace"},
    "a grace beyond the service's bound": {"shutdownGraceSeconds": 601},
    "a pull policy that does not exist": {"image": {"pullPolicy": "Sometimes"}},
    "a digest that is none": {"image": {"digest": "latest"}},
    "a pull secret as plain text": {"imagePullSecrets": ["registry"]},
    "a budget that blocks every drain": {"podDisruptionBudget": {"maxUnavailable": 0}},
    "a probe with its own handler": {"probes": {"liveness": {"exec": {}}}},
    "a label that is a number": {"podLabels": {"team": 7}},
    "a variable without a name": {"extraEnv": [{"value": "1"}]},
    "an interval without a unit": {"serviceMonitor": {"interval": "30"}},
    "resources of another kind": {"resources": {"maximum": {}}},
}


@pytest.mark.parametrize("fault", BAD_VALUES)
@pytest.mark.parametrize("service", SERVICES)
def test_a_schema_refuses(service: str, fault: str) -> None:
    with pytest.raises(helm.HelmValuesError, match=f"{service}:"):
        render_service(service, required_values(service) | BAD_VALUES[fault])


@pytest.mark.parametrize(
    ("service", "values"),
    [
        ("gateway", {"upstream": {"url": "store.example.com"}}),
        ("gateway", {"upstream": {"apiKey": {"value": "secret"}}}),
        ("gateway", {"service": {"type": "ExternalName"}}),
        ("gateway", {"workers": 0}),
        ("cache", {"autoscaling": {"enabled": True}}),
        ("cache", {"diskBytesMax": "8Gi"}),
        ("cache", {"backend": "redis"}),
        ("cache", {"persistence": {"size": "10"}}),
        ("vectorstore", {"replicaCount": 2}),
        ("runtime", {"persistence": {"enabled": True}}),
    ],
)
def test_a_schema_knows_what_its_service_cannot_do(service: str, values: Json) -> None:
    with pytest.raises(helm.HelmValuesError, match=f"{service}:"):
        render_service(service, values)


@pytest.mark.parametrize(
    "values",
    [
        {"dashboard": {"enabled": True}},
        {"gateway": {"enabled": "yes"}},
        {"gateway": True},
        {"gateway": {"replicas": 2}},
        {"global": {"imagePullSecrets": "registry"}},
        {"global": {"peers": {"cache": {"port": "7101"}}}},
    ],
)
def test_the_umbrella_refuses_what_no_chart_knows(values: Json) -> None:
    with pytest.raises(helm.HelmValuesError):
        render({"vectorstore": {"enabled": True}} | values)


@pytest.mark.parametrize("service", SERVICES)
def test_every_value_is_documented(service: str) -> None:
    text = (chart_of(service) / "values.yaml").read_text(encoding="utf-8")
    documented = {value.path for value in documented_values(text)}
    values: Json = yaml.safe_load(text)
    values.pop("exports", None)
    bare = [path for path in _leaves(values, ()) if not _has_prefix(path, documented)]
    assert bare == []


def test_schemas_and_readmes_are_those_of_the_values() -> None:
    stale = [str(file) for file, text in generated_files() if file.read_text("utf-8") != text]
    assert stale == [], "run: python deploy/helm/chart_reference.py"


def test_schemas_refer_to_nothing_outside_themselves() -> None:
    for file, text in generated_files():
        if file.suffix == ".json":
            assert all(target.startswith("#/") for target in _references(json.loads(text)))


def test_services_differ_only_in_values_of_their_own() -> None:
    def shared(service: str) -> set[str]:
        values = yaml.safe_load((chart_of(service) / "values.yaml").read_text(encoding="utf-8"))
        own = {"upstream", "cache", "history", "service", "ingress", "diskBytesMax", "apiKeys"}
        own |= {"flushIntervalSeconds", "objectStore", "hashKey", "exports"}
        own |= {"vectorStores", "metricsBackendUrl", "backend", "aerospike", "workers"}
        own |= {"gateway", "snapshots", "facetFields", "runtime", "database"}
        return set(values) - own - {"persistence", "autoscaling"}

    assert len({frozenset(shared(service)) for service in SERVICES}) == 1


def test_all_charts_have_one_version_and_run_it() -> None:
    charts = [chart_of(service) for service in SERVICES]
    versions = set()
    for chart in (*charts, chart_of("gateway").parent.parent):
        document = yaml.safe_load((chart / "Chart.yaml").read_text(encoding="utf-8"))
        versions |= {document["version"], document["appVersion"]}
        versions |= {dependency["version"] for dependency in document["dependencies"]}
    assert len(versions) == 1


@pytest.mark.parametrize("service", STATELESS)
def test_a_stateless_service_scales_by_its_values(service: str) -> None:
    scaling = {"autoscaling": {"enabled": True, "minReplicas": 3, "maxReplicas": 5}}
    release = render_service(service, required_values(service) | scaling)
    spec = release.one("HorizontalPodAutoscaler", service)["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (3, 5)
    fixed = render_service(service, required_values(service) | {"replicaCount": 4})
    assert fixed.workloads[0]["spec"]["replicas"] == 4


def _leaves(values: Any, path: tuple[str, ...]) -> list[tuple[str, ...]]:
    if isinstance(values, dict) and values:
        return [leaf for key, value in values.items() for leaf in _leaves(value, (*path, key))]
    return [path]


def _has_prefix(path: tuple[str, ...], prefixes: set[tuple[str, ...]]) -> bool:
    return any(path[:length] in prefixes for length in range(1, len(path) + 1))


def _references(schema: Any) -> list[str]:
    if isinstance(schema, dict):
        own = [schema["$ref"]] if isinstance(schema.get("$ref"), str) else []
        return own + [found for value in schema.values() for found in _references(value)]
    if isinstance(schema, list):
        return [found for value in schema for found in _references(value)]
    return []
