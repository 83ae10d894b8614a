"""Renders charts with Helm's engine and finds one's way in the result."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import yaml
from helm_python import Chart

from deploy.helm.chart_reference import SERVICES, UMBRELLA, chart_of

Json = dict[str, Any]

NAMESPACE: Final = "retrieval"
URL: Final = "https://store.example.com"
STATEFUL: Final = ("cache", "history", "vectorstore")
STATELESS: Final = ("gateway", "snapshots", "runtime")


@dataclass(frozen=True, slots=True)
class Release:
    """The objects and the notes of a rendered chart."""

    objects: list[Json]
    notes: dict[str, str]
    """By the path of their template."""

    def of_kind(self, kind: str) -> list[Json]:
        return [item for item in self.objects if item["kind"] == kind]

    def one(self, kind: str, name: str) -> Json:
        (found,) = (item for item in self.of_kind(kind) if item["metadata"]["name"] == name)
        return found

    @property
    def names(self) -> set[tuple[str, str]]:
        return {(item["kind"], item["metadata"]["name"]) for item in self.objects}

    @property
    def workloads(self) -> list[Json]:
        return self.of_kind("Deployment") + self.of_kind("StatefulSet")

    @property
    def pods(self) -> Iterator[Json]:
        """Yield whatever has a pod's metadata and spec: templates of workloads, and test pods."""
        for workload in self.workloads:
            yield workload["spec"]["template"]
        yield from self.of_kind("Pod")

    @property
    def containers(self) -> Iterator[Json]:
        for pod in self.pods:
            yield from pod["spec"]["containers"]
            yield from pod["spec"].get("initContainers", [])

    def environment(self, workload: str) -> dict[str, str]:
        """Return the variables of a workload's container."""
        (found,) = (item for item in self.workloads if item["metadata"]["name"] == workload)
        (container,) = found["spec"]["template"]["spec"]["containers"]
        return {entry["name"]: entry["value"] for entry in container["env"]}


def render(values: Json, *, name: str = "layer") -> Release:
    """Render the umbrella chart."""
    return _render(str(UMBRELLA), values, name)


def render_service(service: str, values: Json, *, name: str | None = None) -> Release:
    """Render the chart of one service, installed alone."""
    return _render(str(chart_of(service)), values, name or service)


def required_values(service: str) -> Json:
    """Return the least that the chart of a service needs when it is installed alone."""
    return {"upstream": {"url": URL}} if service == "gateway" else {}


def everything() -> Json:
    """Return values for the umbrella that switch every option of every service on."""
    values: Json = {
        service: copy.deepcopy(_EVERY_OPTION) | {"enabled": True} for service in SERVICES
    }
    for service in STATELESS:
        values[service]["autoscaling"] = {"enabled": True}
    values["gateway"] |= {
        "upstream": {"url": URL, "apiKey": {"existingSecret": "turbopuffer", "key": "token"}},
        "ingress": {"enabled": True, "host": "layer.example.com", "tlsSecretName": "certificate"},
    }
    values["vectorstore"]["apiKeys"] = {"existingSecret": "turbopuffer", "key": "token"}
    values["global"] = {
        "imageRegistry": "registry.example.com/layer",
        "imagePullSecrets": [{"name": "of-all"}],
    }
    return values


_EVERY_OPTION: Final[Json] = {
    "config": {"log_level": "debug"},
    "image": {"tag": "1.2.3"},
    "imagePullSecrets": [{"name": "of-one"}],
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "serviceAccount": {"annotations": {"example.com/role": "reader"}},
    "nodeSelector": {"disk": "nvme"},
    "tolerations": [{"key": "dedicated", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "priorityClassName": "retrieval",
    "podAnnotations": {"example.com/owner": "search"},
    "podLabels": {"team": "search"},
    "extraEnv": [{"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": "http://collector:4317"}],
    "extraEnvFrom": [{"configMapRef": {"name": "proxies"}}],
    "extraVolumes": [{"name": "certificates", "secret": {"secretName": "certificates"}}],
    "extraVolumeMounts": [{"name": "certificates", "mountPath": "/etc/certificates"}],
}


def _render(path: str, values: Json, name: str) -> Release:
    # A chart is loaded for each rendering: the engine drops disabled subcharts from what it loaded.
    files = Chart.load(path).render(values, name=name, namespace=NAMESPACE)
    objects: list[Json] = []
    notes = {}
    for file, text in files.items():
        if file.endswith("NOTES.txt"):
            notes[file] = text
        else:
            objects.extend(item for item in yaml.safe_load_all(text) if item)
    return Release(objects=objects, notes=notes)
