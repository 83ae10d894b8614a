"""Functions out of files, as Kubernetes or the HTTP API has them."""

from __future__ import annotations

from pathlib import Path

import pytest

from layer_cli.functions.manifest import check_namespaces, differing, read_manifest
from layer_kit.configuration import ConfigurationError

RESOURCE = """
apiVersion: hevlayer.com/v1alpha1
kind: Function
metadata: {name: tag}
spec:
  targetNamespaces: [rows]
  filter: [kind, NotEq, maxAttempts]
  paused: true
  scaling: {replicas: {min: 0}}
  schedule: {maxInFlightBatches: 2, discoveryIntervalSeconds: 9}
  retry: {maxAttempts: 3}
  worker:
    batchSize: 4
    dispatch: pull
    podSpec:
      containers:
        - {name: sidecar, command: [other:thing]}
        - {name: udf, command: [python, -m, layer_sdk], args: ["tags:tag", --once]}
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "function.yaml"
    path.write_text(text)
    return path


def test_a_resource_becomes_a_specification_without_what_only_clusters_have(tmp_path: Path) -> None:
    found = read_manifest(written(tmp_path, RESOURCE))
    assert (found.id, found.worker, found.folder) == ("tag", "tags:tag", tmp_path)
    assert found.spec == {
        "target_namespaces": ["rows"],
        "filter": ["kind", "NotEq", "maxAttempts"],
        "schedule": {"max_in_flight_batches": 2, "discovery_interval_seconds": 9},
        "retry": {"max_attempts": 3},
        "worker": {"batch_size": 4},
    }


def test_a_schedule_is_said_as_the_api_shows_it(tmp_path: Path) -> None:
    text = RESOURCE.replace("maxInFlightBatches: 2", 'cron: "0 2 * * *"')
    text = text.replace("retry:", "triggers: [schedule, write]\n  groupByParent: true\n  retry:")
    found = read_manifest(written(tmp_path, text)).spec
    assert found["schedule"] == {"cron": "0 2 * * *", "discovery_interval_seconds": 9}
    assert (found["triggers"], found["group_by_parent"]) == (["write"], True)


def test_a_body_of_the_api_is_taken_as_it_is(tmp_path: Path) -> None:
    found = read_manifest(written(tmp_path, "id: tag\nspec: {worker: {}, version: v2}\n"))
    assert (found.spec, found.worker) == ({"worker": {}, "version": "v2"}, None)


def test_namespaces_of_the_command_take_the_place_of_those_of_the_file(tmp_path: Path) -> None:
    found = read_manifest(written(tmp_path, RESOURCE), ["others"])
    assert found.spec["target_namespaces"] == ["others"]


def test_a_function_that_only_a_cluster_finds_rows_for_is_refused(tmp_path: Path) -> None:
    selected = RESOURCE.replace("targetNamespaces: [rows]", "indexSelector: {matchLabels: {a: b}}")
    found = read_manifest(written(tmp_path, selected))
    with pytest.raises(ConfigurationError, match="--index"):
        check_namespaces(found)


def test_workers_claim_as_the_file_says(tmp_path: Path) -> None:
    leased = RESOURCE.replace("maxInFlightBatches: 2", "leaseSeconds: 7")
    assert read_manifest(written(tmp_path, leased)).worker_settings == {
        "HEVLAYER_UDF_BATCH_SIZE": "4",
        "HEVLAYER_UDF_LEASE_SECONDS": "7",
    }


@pytest.mark.parametrize(
    "text", ["[", "- a", "kind: Index\nmetadata: {name: x}\nspec: {}", "id: 7\nspec: {}"]
)
def test_what_is_no_function_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"function\.yaml"):
        read_manifest(written(tmp_path, text))


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        read_manifest(tmp_path / "none.yaml")


def test_only_what_is_said_is_compared() -> None:
    registered = {"version": "v1", "retry": {"max_attempts": 8}, "worker": {"batch_size": 32}}
    assert differing({"version": "v1", "worker": {}}, registered) == []
    wanted = {"version": "v2", "retry": {"max_attempts": 3}, "filter": None}
    assert differing(wanted, registered) == ["spec.version", "spec.retry.max_attempts"]
