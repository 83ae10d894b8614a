"""What the charts install: together, alone, with and without parts."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

helm = pytest.importorskip(
    "helm_python", reason="needs helm-python-sdk, which the resolve `deploy` has"
)

from deploy.helm.chart_reference import HELM, SERVICES, UMBRELLA, chart_of  # noqa: E402
from tests.deploy.releases import (  # noqa: E402
    NAMESPACE,
    STATEFUL,
    URL,
    Release,
    everything,
    render,
    render_service,
    required_values,
)

PORTS = {
    "gateway": {"http": 8080, "grpc": 7100},
    "cache": {"grpc": 7101, "lookups": 7106},
    "snapshots": {"grpc": 7102},
    "history": {"grpc": 7103},
    "runtime": {"grpc": 7104},
    "vectorstore": {"http": 7105},
}


def test_the_umbrella_with_a_store_elsewhere_installs_all_services_but_the_embedded_store() -> None:
    release = render({"gateway": {"upstream": {"url": URL}}})
    assert {name for _, name in release.names if not name.endswith(("-test", "-grpc"))} == {
        "layer-gateway",
        "layer-cache",
        "layer-snapshots",
        "layer-history",
        "layer-runtime",
    }
    assert release.environment("layer-gateway")["LAYER_GATEWAY_UPSTREAM_URL"] == URL


def test_the_umbrella_refuses_to_install_a_gateway_without_a_store() -> None:
    with pytest.raises(helm.HelmRenderError, match=r"vectorstore\.enabled=true"):
        render({})


def test_the_embedded_store_becomes_the_gateways_upstream() -> None:
    environment = render({"vectorstore": {"enabled": True}}).environment("layer-gateway")
    assert environment["LAYER_GATEWAY_UPSTREAM_URL"] == "http://layer-vectorstore:7105"


def test_a_store_that_is_named_wins_over_the_embedded_one() -> None:
    values = {"vectorstore": {"enabled": True}, "gateway": {"upstream": {"url": URL}}}
    environment = render(values).environment("layer-gateway")
    assert environment["LAYER_GATEWAY_UPSTREAM_URL"] == URL


def test_the_gateway_finds_the_cache_of_its_release() -> None:
    release = render({"gateway": {"upstream": {"url": URL}}}, name="blue")
    address = release.environment("blue-gateway")["LAYER_GATEWAY_CACHE_ADDRESS"]
    assert address == "dns:///blue-cache:7101"
    history = release.environment("blue-history")
    assert history["LAYER_HISTORY_CACHE_ADDRESS"] == address
    assert ("Service", "blue-cache") in release.names


def test_gateway_and_snapshots_find_each_other_and_share_a_bucket() -> None:
    bucket = {"objectStore": {"bucket": "layer", "region": "eu-west-1", "endpoint": ""}}
    key = {"existingSecret": "store", "key": "api-key"}
    values = {
        "gateway": {"upstream": {"url": URL}, **bucket},
        "snapshots": {"gateway": {"apiKey": key}, "facetFields": {"books": ["genre"]}, **bucket},
    }
    release = render(values, name="blue")

    gateway = release.environment("blue-gateway")
    snapshots = release.environment("blue-snapshots")
    assert gateway["LAYER_GATEWAY_SNAPSHOTS_ADDRESS"] == "dns:///blue-snapshots:7102"
    assert snapshots["LAYER_SNAPSHOTS_GATEWAY_ADDRESS"] == "dns:///blue-gateway-grpc:7100"
    assert snapshots["LAYER_SNAPSHOTS_CACHE_ADDRESS"] == "dns:///blue-cache:7101"
    assert snapshots["LAYER_FACET_FIELDS"] == '{"books":["genre"]}'
    assert (gateway["S3_BUCKET"], snapshots["S3_BUCKET"]) == ("layer", "layer")
    assert "LAYER_SNAPSHOTS_OBJECTS_DIRECTORY" not in snapshots


def test_gateway_and_runtime_find_each_other_and_the_database_is_a_secret() -> None:
    bucket = {"objectStore": {"bucket": "layer", "region": "eu-west-1", "endpoint": ""}}
    database = {"existingSecret": "postgres", "key": "url"}
    key = {"existingSecret": "admin", "key": "api-key"}
    values = {
        "gateway": {"upstream": {"url": URL}},
        "runtime": {"database": database, "gateway": {"apiKey": key}, **bucket},
    }
    release = render(values, name="blue")

    runtime = release.environment("blue-runtime")
    gateway = release.environment("blue-gateway")
    assert gateway["LAYER_GATEWAY_RUNTIME_ADDRESS"] == "dns:///blue-runtime:7104"
    assert runtime["LAYER_RUNTIME_GATEWAY_ADDRESS"] == "dns:///blue-gateway-grpc:7100"
    assert runtime["LAYER_RUNTIME_CACHE_ADDRESS"] == "dns:///blue-cache:7101"
    assert runtime["S3_BUCKET"] == "layer"
    for variable, name in (("DATABASE_URL", "url"), ("GATEWAY_API_KEY", "api-key")):
        file = runtime[f"LAYER_RUNTIME_{variable}_FILE"]
        assert file == f"/etc/layer/secrets/LAYER_RUNTIME_{variable}/{name}"


def test_the_gateway_runs_as_many_workers_as_it_is_told() -> None:
    alone, several = (
        render_service("gateway", required_values("gateway") | values).environment("gateway")
        for values in ({}, {"workers": 4})
    )
    assert "LAYER_GATEWAY_WORKERS" not in alone
    assert several["LAYER_GATEWAY_WORKERS"] == "4"


def test_the_gateway_knows_every_pod_of_several_caches() -> None:
    knows = {"cache": {"replicas": 3}}
    gateway = {"upstream": {"url": URL}, **knows}
    values = {"gateway": gateway, "history": knows, "snapshots": knows, "runtime": knows}
    release = render({**values, "cache": {"replicaCount": 3}})
    addresses = release.environment("layer-gateway")["LAYER_GATEWAY_CACHE_ADDRESS"].split(",")
    assert addresses == [f"dns:///layer-cache-{number}.layer-cache:7101" for number in range(3)]
    cache = release.one("StatefulSet", "layer-cache")["spec"]
    assert (cache["replicas"], cache["serviceName"]) == (3, "layer-cache")
    assert cache["persistentVolumeClaimRetentionPolicy"]["whenScaled"] == "Delete"


@pytest.mark.parametrize(("pods", "known"), [(3, 1), (1, 3), (2, 3)])
def test_gateways_that_would_not_know_every_cache_are_refused(pods: int, known: int) -> None:
    gateway = {"upstream": {"url": URL}, "cache": {"replicas": known}}
    with pytest.raises(helm.HelmRenderError, match=r"gateway\.cache\.replicas"):
        render({"gateway": gateway, "cache": {"replicaCount": pods}})
    history = {"cache": {"replicas": known}}
    gateway = {"upstream": {"url": URL}, "cache": {"replicas": max(pods, 1)}}
    with pytest.raises(helm.HelmRenderError, match=r"history\.cache\.replicas"):
        render({"gateway": gateway, "history": history, "cache": {"replicaCount": pods}})


def test_a_gateway_beside_a_disabled_cache_runs_without_one() -> None:
    release = render({"gateway": {"upstream": {"url": URL}}, "cache": {"enabled": False}})
    assert "LAYER_GATEWAY_CACHE_ADDRESS" not in release.environment("layer-gateway")
    assert not [name for _, name in release.names if "cache" in name]


@pytest.mark.parametrize("service", SERVICES)
def test_each_service_can_be_left_out_of_the_umbrella(service: str) -> None:
    values = everything()
    values[service]["enabled"] = False
    names = {name for _, name in render(values).names}
    assert not [name for name in names if name.startswith(f"layer-{service}")]
    assert {f"layer-{other}" for other in SERVICES if other != service} <= names


@pytest.mark.parametrize("service", SERVICES)
def test_each_service_installs_alone_under_the_name_of_its_release(service: str) -> None:
    release = render_service(service, required_values(service), name=service)
    (workload,) = release.workloads
    assert workload["metadata"]["name"] == service
    assert workload["kind"] == ("StatefulSet" if service in STATEFUL else "Deployment")
    elsewhere = render_service(service, required_values(service), name="blue")
    assert elsewhere.workloads[0]["metadata"]["name"] == f"blue-{service}"


def test_the_gateway_alone_asks_for_its_store() -> None:
    with pytest.raises(helm.HelmRenderError, match=r"set upstream\.url"):
        render_service("gateway", {})


def test_the_gateway_alone_is_told_where_the_cache_is() -> None:
    values = required_values("gateway") | {"cache": {"address": "dns:///cache:7101"}}
    environment = render_service("gateway", values).environment("gateway")
    assert environment["LAYER_GATEWAY_CACHE_ADDRESS"] == "dns:///cache:7101"


@pytest.mark.parametrize(
    ("service", "variable"),
    [
        ("gateway", "LAYER_GATEWAY_UPSTREAM_API_KEY_FILE"),
        ("vectorstore", "LAYER_VECTORSTORE_API_KEYS_FILE"),
    ],
)
def test_a_key_is_read_from_an_existing_secret_as_a_file(service: str, variable: str) -> None:
    release = render(everything())
    (pod,) = (item for item in release.pods if item["spec"]["containers"][0]["name"] == service)
    file = Path(release.environment(f"layer-{service}")[variable])
    (container,) = pod["spec"]["containers"]
    (mount,) = (m for m in container["volumeMounts"] if m["mountPath"] == str(file.parent))
    (volume,) = (v for v in pod["spec"]["volumes"] if v["name"] == mount["name"])
    assert mount["readOnly"]
    assert volume["secret"]["secretName"] == "turbopuffer"
    assert volume["secret"]["items"] == [{"key": "token", "path": file.name}]
    assert not release.of_kind("Secret")


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_called_by_a_headless_service_on_its_ports(service: str) -> None:
    release = render(everything())
    name = "layer-gateway-grpc" if service == "gateway" else f"layer-{service}"
    spec = release.one("Service", name)["spec"]
    assert spec["clusterIP"] == "None"
    assert {port["name"]: port["port"] for port in spec["ports"]} == PORTS[service] | {"ops": 9090}


def test_http_clients_of_the_gateway_have_one_address_that_shows_no_other_port() -> None:
    values = required_values("gateway") | {"service": {"type": "LoadBalancer"}}
    spec = render_service("gateway", values).one("Service", "gateway")["spec"]
    assert spec["type"] == "LoadBalancer"
    assert [(port["name"], port["port"]) for port in spec["ports"]] == [("http", 8080)]


def test_an_ingress_needs_a_host() -> None:
    values = required_values("gateway") | {"ingress": {"enabled": True}}
    with pytest.raises(helm.HelmRenderError, match=r"ingress\.host is empty"):
        render_service("gateway", values)


def test_an_ingress_leads_to_the_http_port() -> None:
    (ingress,) = render(everything()).of_kind("Ingress")
    (rule,) = ingress["spec"]["rules"]
    backend = rule["http"]["paths"][0]["backend"]["service"]
    assert rule["host"] == "layer.example.com"
    assert ingress["spec"]["tls"][0]["hosts"] == ["layer.example.com"]
    assert backend == {"name": "layer-gateway", "port": {"name": "http"}}


@pytest.mark.parametrize("service", STATEFUL)
def test_a_stateful_service_keeps_its_data_on_a_claim_or_with_the_pod(service: str) -> None:
    kept = render_service(service, {}).one("StatefulSet", service)["spec"]
    (claim,) = kept["volumeClaimTemplates"]
    assert claim["metadata"]["name"] == "data"
    assert claim["spec"]["resources"]["requests"]["storage"] == "10Gi"
    assert kept["serviceName"] == service
    lost = render_service(service, {"persistence": {"enabled": False}}).workloads[0]["spec"]
    assert "volumeClaimTemplates" not in lost
    assert {"name": "data", "emptyDir": {"sizeLimit": "10Gi"}} in lost["template"]["spec"][
        "volumes"
    ]


def test_a_large_number_reaches_the_cache_as_digits() -> None:
    environment = render_service("cache", {"diskBytesMax": 2**40}).environment("cache")
    assert environment["LAYER_CACHE_DISK_BYTES_MAX"] == "1099511627776"


def test_a_cache_over_aerospike_is_told_where_it_is() -> None:
    values = {"backend": "aerospike", "aerospike": {"hosts": "one:3000,two:3000"}}
    environment = render_service("cache", values).environment("cache")
    assert environment["LAYER_CACHE_BACKEND"] == "aerospike"
    assert environment["LAYER_CACHE_AEROSPIKE_HOSTS"] == "one:3000,two:3000"
    assert environment["LAYER_CACHE_AEROSPIKE_NAMESPACE"] == "hevlayer"
    assert environment["LAYER_CACHE_AEROSPIKE_SET_PREFIX"] == "tpuf_"
    with pytest.raises(helm.HelmRenderError, match=r"needs aerospike\.hosts"):
        render_service("cache", {"backend": "aerospike"})
    with pytest.raises(helm.HelmRenderError, match="one replica"):
        render_service("cache", values | {"replicaCount": 2})


def test_everything_on_gives_each_service_its_objects() -> None:
    release = render(everything())
    for service in SERVICES:
        kinds = {kind for kind, name in release.names if name == f"layer-{service}"}
        wanted = {"ConfigMap", "NetworkPolicy", "PodDisruptionBudget", "ServiceAccount"}
        wanted |= {"Service", "ServiceMonitor"}
        wanted |= {"StatefulSet"} if service in STATEFUL else {"Deployment"}
        wanted |= set() if service in STATEFUL else {"HorizontalPodAutoscaler"}
        assert kinds - {"Ingress"} == wanted, service


def test_everything_off_leaves_a_workload_with_its_service_and_its_test() -> None:
    off = {"enabled": False}
    values = {"podDisruptionBudget": off, "networkPolicy": off, "serviceAccount": {"create": False}}
    release = render_service("snapshots", values)
    assert {kind for kind, _ in release.names} == {"Deployment", "Service", "Pod"}
    assert release.workloads[0]["spec"]["template"]["spec"]["serviceAccountName"] == "default"


def test_an_autoscaled_workload_leaves_the_number_of_pods_to_its_autoscaler() -> None:
    release = render(everything())
    for autoscaler in release.of_kind("HorizontalPodAutoscaler"):
        target = autoscaler["spec"]["scaleTargetRef"]
        assert "replicas" not in release.one(target["kind"], target["name"])["spec"]
    assert render_service("runtime", {}).workloads[0]["spec"]["replicas"] == 1


def test_internal_services_admit_layer_alone_and_the_gateway_admits_everyone() -> None:
    release = render({"vectorstore": {"enabled": True}})
    for service in SERVICES:
        calls, operations = release.one("NetworkPolicy", f"layer-{service}")["spec"]["ingress"]
        assert [port["port"] for port in calls["ports"]] == list(PORTS[service])
        assert [port["port"] for port in operations["ports"]] == ["ops"]
        if service == "gateway":
            assert "from" not in calls
        else:
            (peer,) = calls["from"]
            assert peer["podSelector"]["matchLabels"] == {"app.kubernetes.io/part-of": "layer"}


def test_the_admitted_label_is_on_every_pod() -> None:
    labels = [pod["metadata"]["labels"] for pod in render(everything()).pods]
    assert all(label["app.kubernetes.io/part-of"] == "layer" for label in labels)


def test_no_release_name_makes_a_name_too_long() -> None:
    release = render({"vectorstore": {"enabled": True}}, name="r" * 53)
    assert max(len(name) for _, name in release.names) <= 63
    # The label `controller-revision-hash` of a StatefulSet's pods adds 11 letters to its name.
    assert max(len(item["metadata"]["name"]) for item in release.of_kind("StatefulSet")) <= 52


def test_no_two_objects_have_one_name() -> None:
    release = render(everything())
    assert len(release.names) == len(release.objects)


def test_strict_lint_finds_no_fault_in_the_umbrella_and_its_subcharts() -> None:
    result = helm.lint(str(UMBRELLA), everything(), strict=True, with_subcharts=True)
    assert result["errors"] == []


@pytest.mark.parametrize("service", SERVICES)
def test_strict_lint_finds_no_fault_in_a_chart_alone(service: str) -> None:
    result = helm.lint(str(chart_of(service)), required_values(service), strict=True)
    assert result["errors"] == []


@pytest.mark.parametrize("service", SERVICES)
def test_a_chart_carries_the_library_as_it_is(service: str) -> None:
    library = HELM / "layer-common"
    carried = chart_of(service) / "charts" / "layer-common"
    files = [path.relative_to(library) for path in library.rglob("*") if path.is_file()]
    assert files
    for file in files:
        assert (carried / file).read_bytes() == (library / file).read_bytes()


def test_a_packaged_chart_needs_nothing_from_the_checkout(tmp_path: Path) -> None:
    archive = Path(helm.package(str(UMBRELLA), destination=str(tmp_path)))
    with tarfile.open(archive) as tar:
        links = [member.name for member in tar.getmembers() if not member.isfile()]
    assert links == []
    files = helm.Chart.load(str(archive)).render(everything(), name="layer", namespace=NAMESPACE)
    assert files["layer/charts/gateway/templates/objects.yaml"]


def test_the_notes_of_the_umbrella_say_what_is_on_and_what_to_do_next() -> None:
    notes = render({"gateway": {"upstream": {"url": URL}}}).notes["layer/templates/NOTES.txt"]
    assert "vectorstore  not enabled" in notes
    assert "gateway      enabled" in notes
    assert "helm --namespace retrieval test layer" in notes
    assert "port-forward service/layer-gateway 8080" in notes


@pytest.mark.parametrize("service", SERVICES)
def test_the_notes_of_a_service_print_commands_for_objects_that_exist(service: str) -> None:
    release: Release = render_service(service, required_values(service), name="blue")
    (notes,) = release.notes.values()
    kind = "statefulset" if service in STATEFUL else "deployment"
    assert f"kubectl --namespace retrieval rollout status {kind}/blue-{service}" in notes
    assert "helm --namespace retrieval test blue" in notes
