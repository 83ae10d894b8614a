"""What a security review and an upgrade ask of every pod, whichever service it belongs to."""

from __future__ import annotations

import json

import pytest

helm = pytest.importorskip(
    "helm_python", reason="needs helm-python-sdk, which the resolve `deploy` has"
)

from deploy.helm.chart_reference import SERVICES  # noqa: E402
from tests.deploy.releases import (  # noqa: E402
    Json,
    Release,
    everything,
    render,
    render_service,
    required_values,
)
from tests.deploy.settings_variables import known_variables  # noqa: E402

PLAIN: Json = {"vectorstore": {"enabled": True}}
GRACE_MARGIN_S = 15


@pytest.fixture(scope="module", params=["plain", "everything"])
def release(request: pytest.FixtureRequest) -> Release:
    return render(PLAIN if request.param == "plain" else everything())


def test_there_is_a_workload_and_a_test_pod_for_each_service(release: Release) -> None:
    workloads = {item["metadata"]["name"] for item in release.workloads}
    tests = {item["metadata"]["name"] for item in release.of_kind("Pod")}
    assert workloads == {f"layer-{service}" for service in SERVICES}
    assert tests == {f"layer-{service}-test" for service in SERVICES}


def test_every_pod_runs_as_a_user_without_rights(release: Release) -> None:
    for pod in release.pods:
        context = pod["spec"]["securityContext"]
        assert context["runAsNonRoot"] is True
        assert context["runAsUser"] == context["runAsGroup"] == context["fsGroup"] == 10001
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        for key in ("hostNetwork", "hostPID", "hostIPC"):
            assert key not in pod["spec"]


def test_every_container_can_neither_gain_rights_nor_write_its_file_system(
    release: Release,
) -> None:
    for container in release.containers:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


def test_no_pod_gets_a_token_of_the_cluster(release: Release) -> None:
    assert all(pod["spec"]["automountServiceAccountToken"] is False for pod in release.pods)
    accounts = release.of_kind("ServiceAccount")
    assert all(account["automountServiceAccountToken"] is False for account in accounts)
    names = {account["metadata"]["name"] for account in accounts}
    assert {pod["spec"]["serviceAccountName"] for pod in release.pods} == names


def test_kubernetes_adds_no_variables_that_a_service_would_refuse(release: Release) -> None:
    assert all(pod["spec"]["enableServiceLinks"] is False for pod in release.pods)


def test_every_container_has_requests_and_a_memory_limit(release: Release) -> None:
    for container in release.containers:
        assert set(container["resources"]["requests"]) == {"cpu", "memory"}
        assert "memory" in container["resources"]["limits"]


def test_every_image_is_the_services_own_in_the_version_of_the_chart() -> None:
    for service in SERVICES:
        release = render_service(service, required_values(service))
        assert {item["image"] for item in release.containers} == {f"layer-{service}:0.1.0"}


def test_registry_and_tag_reach_every_image() -> None:
    images = {container["image"] for container in render(everything()).containers}
    assert images == {f"registry.example.com/layer/layer-{service}:1.2.3" for service in SERVICES}


def test_a_digest_wins_over_a_tag() -> None:
    digest = f"sha256:{'0' * 64}"
    release = render_service("cache", {"image": {"tag": "1.2.3", "digest": digest}})
    assert {item["image"] for item in release.containers} == {f"layer-cache@{digest}"}


def test_pull_secrets_reach_every_pod() -> None:
    for pod in render(everything()).pods:
        assert pod["spec"]["imagePullSecrets"] == [{"name": "of-all"}, {"name": "of-one"}]


def test_placement_reaches_every_pod() -> None:
    for pod in render(everything()).pods:
        assert pod["spec"]["nodeSelector"] == {"disk": "nvme"}
        assert pod["spec"]["tolerations"] == [{"key": "dedicated", "operator": "Exists"}]
        assert pod["spec"]["priorityClassName"] == "retrieval"


def test_extras_reach_every_workload() -> None:
    for workload in render(everything()).workloads:
        template = workload["spec"]["template"]
        (container,) = template["spec"]["containers"]
        assert template["metadata"]["annotations"]["example.com/owner"] == "search"
        assert template["metadata"]["labels"]["team"] == "search"
        assert container["env"][-1]["name"] == "OTEL_EXPORTER_OTLP_ENDPOINT"
        assert container["envFrom"] == [{"configMapRef": {"name": "proxies"}}]
        assert container["volumeMounts"][-1]["mountPath"] == "/etc/certificates"
        assert template["spec"]["volumes"][-1]["name"] == "certificates"


def test_selectors_match_the_pods_of_their_own_workload_and_no_others(release: Release) -> None:
    for workload in release.workloads:
        name = workload["metadata"]["name"]
        selected = workload["spec"]["selector"]["matchLabels"]
        for item in (
            *(s for s in release.of_kind("Service") if s["metadata"]["name"].startswith(name)),
            release.one("PodDisruptionBudget", name),
            release.one("NetworkPolicy", name),
        ):
            spec = item["spec"]
            selector = spec.get("podSelector") or spec["selector"]
            assert selector.get("matchLabels", selector) == selected, item["kind"]
        matching = [pod for pod in release.pods if _selects(selected, pod)]
        assert matching == [workload["spec"]["template"]]


def test_every_port_of_a_service_exists_on_its_pods(release: Release) -> None:
    templates = [workload["spec"]["template"] for workload in release.workloads]
    for service in release.of_kind("Service"):
        (pod,) = (item for item in templates if _selects(service["spec"]["selector"], item))
        (container,) = pod["spec"]["containers"]
        open_ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        for port in service["spec"]["ports"]:
            assert open_ports[port["targetPort"]] == port["port"]


def test_every_service_listens_where_its_ports_say(release: Release) -> None:
    for workload in release.workloads:
        (container,) = workload["spec"]["template"]["spec"]["containers"]
        environment = release.environment(workload["metadata"]["name"])
        for port in container["ports"]:
            variable = f"LAYER_{container['name']}_{port['name']}_ADDRESS".upper()
            assert environment[variable] == f":{port['containerPort']}"


def test_liveness_asks_the_process_and_readiness_its_fitness(release: Release) -> None:
    for workload in release.workloads:
        (container,) = workload["spec"]["template"]["spec"]["containers"]
        assert container["livenessProbe"]["httpGet"] == {"path": "/livez", "port": "ops"}
        assert container["startupProbe"]["httpGet"] == {"path": "/livez", "port": "ops"}
        assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "ops"}


def test_probe_timing_can_be_changed_one_value_at_a_time() -> None:
    release = render_service("history", {"probes": {"liveness": {"failureThreshold": 9}}})
    (container,) = release.workloads[0]["spec"]["template"]["spec"]["containers"]
    assert container["livenessProbe"]["failureThreshold"] == 9
    assert container["livenessProbe"]["periodSeconds"] == 10


@pytest.mark.parametrize("grace_s", [0, 12.5, 600])
def test_a_pod_outlives_its_drain(grace_s: float) -> None:
    release = render_service("runtime", {"shutdownGraceSeconds": grace_s})
    period_s = release.workloads[0]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    told_s = float(release.environment("runtime")["LAYER_RUNTIME_SHUTDOWN_GRACE_S"])
    assert told_s == grace_s
    assert grace_s + GRACE_MARGIN_S <= period_s <= grace_s + GRACE_MARGIN_S + 1


def test_pods_spread_over_zones_and_hosts(release: Release) -> None:
    for workload in release.workloads:
        constraints = workload["spec"]["template"]["spec"]["topologySpreadConstraints"]
        keys = [constraint["topologyKey"] for constraint in constraints]
        assert keys == ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]
        for constraint in constraints:
            assert constraint["labelSelector"] == workload["spec"]["selector"]


def test_every_mount_has_its_volume_and_every_volume_its_mount(release: Release) -> None:
    for workload in release.workloads:
        spec = workload["spec"]["template"]["spec"]
        claims = [c["metadata"]["name"] for c in workload["spec"].get("volumeClaimTemplates", [])]
        volumes = [volume["name"] for volume in spec["volumes"]] + claims
        mounts = [mount["name"] for mount in spec["containers"][0]["volumeMounts"]]
        assert sorted(mounts) == sorted(volumes)
        assert "tmp" in mounts


def test_other_settings_reach_a_service_as_a_file_whose_change_restarts_it() -> None:
    def template_with(config: Json) -> Json:
        release = render_service("cache", {"config": config})
        text = release.one("ConfigMap", "cache")["data"]["layer.yaml"]
        assert text.startswith("cache:\n")
        template: Json = release.workloads[0]["spec"]["template"]
        return template

    quick, slow = template_with({"lease_s": 1}), template_with({"lease_s": 2})
    checksums = {item["metadata"]["annotations"]["checksum/config"] for item in (quick, slow)}
    assert len(checksums) == 2
    variables = {entry["name"]: entry["value"] for entry in quick["spec"]["containers"][0]["env"]}
    assert variables["LAYER_CONFIG_FILE"] == "/etc/layer/config/layer.yaml"


def test_a_new_version_of_a_chart_alone_restarts_nothing(release: Release) -> None:
    for workload in release.workloads:
        assert "helm.sh/chart" not in workload["spec"]["template"]["metadata"]["labels"]


def test_the_operations_port_is_scraped_once_for_each_pod() -> None:
    release = render(everything())
    for monitor in release.of_kind("ServiceMonitor"):
        assert monitor["metadata"]["labels"]["release"] == "prometheus"
        (endpoint,) = monitor["spec"]["endpoints"]
        selector = monitor["spec"]["selector"]["matchLabels"]
        scraped = [
            port
            for service in release.of_kind("Service")
            if selector.items() <= service["metadata"]["labels"].items()
            for port in service["spec"]["ports"]
            if port["name"] == endpoint["port"]
        ]
        assert len(scraped) == 1


@pytest.mark.parametrize("service", SERVICES)
def test_a_test_pod_asks_a_service_that_has_the_port(service: str) -> None:
    release = render(everything())
    pod = release.one("Pod", f"layer-{service}-test")
    address = pod["spec"]["containers"][0]["command"][-1]
    host, _, port = address.removeprefix("http://").removesuffix("/readyz").partition(":")
    assert int(port) in [p["port"] for p in release.one("Service", host)["spec"]["ports"]]
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"


@pytest.mark.parametrize("service", SERVICES)
def test_every_variable_of_a_chart_is_a_setting_of_its_service(service: str) -> None:
    environment = render(everything()).environment(f"layer-{service}")
    ours = {name for name in environment if name.startswith("LAYER_")}
    assert ours <= known_variables(service)


def test_declared_stores_reach_the_gateway_with_their_secrets_as_files() -> None:
    reference = {"name": "callers", "key": "search.page"}
    spec = {
        "kind": "turbopuffer",
        "endpoint": {"url": "https://store.example", "region": "here"},
        "credential": {"secretRef": {"name": "turbopuffer", "key": "api-key"}},
        "inboundAuth": {
            "mode": "keys",
            "keys": [
                {"name": "page", "scopes": ["read"], "secretRef": reference},
                {"name": "same", "scopes": ["write"], "secretRef": reference},
            ],
        },
    }
    values = {"vectorStores": {"main": spec}, "objectStore": {"bucket": "kept"}}
    release = render_service("gateway", values)
    environment = release.environment("gateway")
    assert json.loads(environment["LAYER_STORE_JSON"]) == {"main": spec}
    assert "LAYER_GATEWAY_UPSTREAM_URL" not in environment
    assert (environment["S3_BUCKET"], environment["S3_REGION"]) == ("kept", "us-east-1")
    files = {name: value for name, value in environment.items() if "LAYER_SECRET_" in name}
    assert files == {
        "LAYER_SECRET_CALLERS_SEARCH_PAGE_FILE": (
            "/etc/layer/secrets/LAYER_SECRET_CALLERS_SEARCH_PAGE/search.page"
        ),
        "LAYER_SECRET_TURBOPUFFER_API_KEY_FILE": (
            "/etc/layer/secrets/LAYER_SECRET_TURBOPUFFER_API_KEY/api-key"
        ),
    }


def _selects(selector: Json, pod: Json) -> bool:
    labels: Json = pod["metadata"]["labels"]
    return selector.items() <= labels.items()
