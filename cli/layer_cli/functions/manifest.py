"""A function as a file has it: a Kubernetes resource, or the body of the HTTP API."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from layer_kit.configuration import ConfigurationError

KIND: Final = "Function"
CONTAINER: Final = "udf"
SCHEDULE: Final = "schedule"
ONLY_OF_CLUSTERS: Final = frozenset({"paused", "scaling", "indexSelector"})
ONLY_OF_PODS: Final = frozenset({"podSpec", "computeClass", "dispatch"})
_WORKER: Final = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
_UPPER: Final = re.compile(r"(?<!^)([A-Z])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What is to be registered, and how its worker is started."""

    id: str
    spec: Mapping[str, Any]
    """As the HTTP API takes it."""
    worker: str | None
    """`module:function` out of the command of its container."""
    folder: Path
    """Where the file is, and its module."""

    @property
    def worker_settings(self) -> Mapping[str, str]:
        """What the file says of how its workers claim, as the variables that tell them."""
        found = {
            "HEVLAYER_UDF_BATCH_SIZE": (self.spec.get("worker") or {}).get("batch_size"),
            "HEVLAYER_UDF_LEASE_SECONDS": (self.spec.get("schedule") or {}).get("lease_seconds"),
        }
        return {name: str(value) for name, value in found.items() if value}


def read_manifest(path: Path, namespaces: Sequence[str] = ()) -> Manifest:
    """Read a file.

    Args:
        namespaces: Take the place of those that the file names.

    Raises:
        ConfigurationError: It cannot be read, or does not describe a function.
    """
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigurationError(f"cannot read {path}: {' '.join(str(error).split())}") from error
    match found:
        case {"kind": str(kind), "metadata": {"name": str(name)}, "spec": dict(spec)}:
            if kind != KIND:
                raise ConfigurationError(f"{path}: kind {kind!r} is not {KIND}")
            api_spec = _api_spec(spec)
        case {"id": str(name), "spec": dict(spec)}:
            api_spec = dict(spec)
        case _:
            raise ConfigurationError(f"{path}: neither a {KIND} nor an object with id and spec")
    if namespaces:
        api_spec["target_namespaces"] = list(namespaces)
    return Manifest(id=name, spec=api_spec, worker=_worker(spec), folder=path.absolute().parent)


def check_namespaces(manifest: Manifest) -> None:
    """Check that a function to be registered has rows.

    Raises:
        ConfigurationError: It names no namespace.
    """
    if not (manifest.spec.get("target_namespaces") or manifest.spec.get("index_selector")):
        raise ConfigurationError(
            f"function {manifest.id} names no namespace (an indexSelector is for clusters): "
            "give targetNamespaces, or --index"
        )


def differing(
    wanted: Mapping[str, Any], found: Mapping[str, Any], where: str = "spec"
) -> list[str]:
    """Return where what is registered differs from what is wanted; defaults that are not
    mentioned do not count.
    """
    places = []
    for name, value in wanted.items():
        there = found.get(name)
        if isinstance(value, dict) and isinstance(there, dict):
            places += differing(value, there, f"{where}.{name}")
        elif value is not None and value != there:
            places.append(f"{where}.{name}")
    return places


def _api_spec(spec: Mapping[str, Any]) -> dict[str, Any]:
    found = {name: value for name, value in spec.items() if name not in ONLY_OF_CLUSTERS}
    if (found.get("schedule") or {}).get("cron") and found.get("triggers"):
        # The API says by `schedule.cron` alone that there is a schedule.
        found["triggers"] = [name for name in found["triggers"] if name != SCHEDULE]
    worker = found.get("worker") or {}
    found["worker"] = {name: value for name, value in worker.items() if name not in ONLY_OF_PODS}
    return {
        _snake(name): _snaked(value) if name in {"worker", "schedule", "retry"} else value
        for name, value in found.items()
    }


def _snaked(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {_snake(name): value for name, value in fields.items()}


def _snake(name: str) -> str:
    return _UPPER.sub(r"_\1", name).lower()


def _worker(spec: Mapping[str, Any]) -> str | None:
    """Find `module:function` in the command of the container that runs the function."""
    worker = spec.get("worker") or {}
    pod = worker.get("podSpec") or worker.get("pod_spec") or {}
    for container in pod.get("containers") or ():
        if container.get("name", CONTAINER) == CONTAINER:
            for word in [*(container.get("command") or ()), *(container.get("args") or ())]:
                if _WORKER.fullmatch(str(word)):
                    return str(word)
    return None
