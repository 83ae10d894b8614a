"""Index manifests: what labels a namespace has, as Kubernetes resources in a file say it.

A file holds one resource, a list of them, a ``List`` with ``items``, or several YAML documents. Of
each, its name, its labels and ``spec.backend.namespace`` are read, and nothing else. The file is
looked at again and again, so that whoever writes it need not restart anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final, Literal

import msgspec
import structlog
import yaml

from layer_kit.configuration import ConfigurationError
from layer_kit.errors import LayerError
from layer_kit.names import Namespace, parse_namespace

log = structlog.get_logger(__name__)

INDEXES_COUNT_MAX: Final = 100_000
FILE_BYTES_MAX: Final = 16 * 1024 * 1024
_NONE: Final[Mapping[str, str]] = {}


class _Metadata(msgspec.Struct):
    name: str
    labels: dict[str, str] | None = None


class _Backend(msgspec.Struct):
    namespace: str | None = None


class _Spec(msgspec.Struct):
    backend: _Backend | None = None


class _Index(msgspec.Struct):
    metadata: _Metadata
    kind: Literal["Index"]
    spec: _Spec | None = None


class NoLabels:
    """Nobody gives indexes labels."""

    def of(self, namespace: Namespace) -> Mapping[str, str]:
        return _NONE


class IndexManifests:
    """The labels of a file, as of the last look at it that could read it."""

    def __init__(self, path: str) -> None:
        """Read the file.

        Raises:
            ConfigurationError: It cannot be used as it is.
        """
        self._path = Path(path)
        self._seen = self._version()
        self._labels = read_index_manifests(self._path)

    def of(self, namespace: Namespace) -> Mapping[str, str]:
        return self._labels.get(namespace, _NONE)

    async def look(self) -> None:
        """Read the file anew if it has changed; what it said before stays where it cannot be read.

        Raises:
            ConfigurationError: It cannot be used as it is now.
        """
        version = await asyncio.to_thread(self._version)
        if version == self._seen:
            return
        self._labels = await asyncio.to_thread(read_index_manifests, self._path)
        self._seen = version
        log.info("index_labels_read", namespaces_count=len(self._labels))

    def _version(self) -> tuple[int, int, int]:
        """Return what is another one whenever the file is; a mounted one is replaced as a whole."""
        try:
            found = self._path.stat()
        except OSError as error:
            raise ConfigurationError(f"cannot read {self._path}: {error.strerror}") from error
        return found.st_mtime_ns, found.st_size, found.st_ino


def read_index_manifests(path: Path) -> Mapping[str, Mapping[str, str]]:
    """Return the labels of each namespace that a file names.

    Raises:
        ConfigurationError: In one line that names the place.
    """
    try:
        with path.open("rb") as file:
            text = file.read(FILE_BYTES_MAX + 1)
        if len(text) > FILE_BYTES_MAX:
            raise ConfigurationError(f"{path}: is longer than {FILE_BYTES_MAX} bytes")
        documents = [one for one in yaml.safe_load_all(text.decode()) if one is not None]
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from error
    except (UnicodeDecodeError, RecursionError, yaml.YAMLError) as error:
        raise ConfigurationError(f"{path}: {' '.join(str(error).split())}") from error
    found: dict[str, Mapping[str, str]] = {}
    for at, resource in enumerate(_resources(documents)):
        namespace, labels = _labelled(resource, f"{path}: Index number {at + 1}")
        if namespace in found:
            raise ConfigurationError(f"{path}: two indexes have the namespace {namespace}")
        if len(found) == INDEXES_COUNT_MAX:
            raise ConfigurationError(f"{path}: has more than {INDEXES_COUNT_MAX} indexes")
        found[namespace] = labels
    return found


def _labelled(resource: object, where: str) -> tuple[Namespace, Mapping[str, str]]:
    try:
        index = msgspec.convert(resource, _Index)
        backend = index.spec.backend if index.spec else None
        namespace = parse_namespace((backend and backend.namespace) or index.metadata.name)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"{where}: {error}") from error
    except LayerError as error:
        raise ConfigurationError(f"{where}: {error.message}") from error
    return namespace, index.metadata.labels or {}


def _resources(documents: Iterable[object]) -> Iterator[object]:
    """Yield the resources in whatever they are wrapped in."""
    for document in documents:
        match document:
            case list():
                yield from _resources(document)
            case {"items": list(items)}:
                yield from _resources(items)
            case _:
                yield document
