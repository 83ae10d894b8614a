"""VectorStore manifests: what a Kubernetes resource says, out of a file or a variable.

A manifest is one resource, a list of them, a ``List`` with ``items``, several YAML documents, or a
map from names to specs. Anything it says that is not known stops the start: a misspelt
``inboundAuth`` must not open a gateway.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import Any, Final, Literal, Protocol
from urllib.parse import urlsplit

import msgspec
import yaml

from layer_gateway.domain.access import Scope
from layer_gateway.domain.vectorstores import (
    NO_SECRET,
    InboundMode,
    InboundPolicy,
    SecretRef,
    StaticKey,
    VectorStore,
    VectorStores,
)
from layer_kit.configuration import ConfigurationError

API_VERSION: Final = "hevlayer.com/v1alpha1"
KEYS_COUNT_MAX: Final = 1000
_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")


class Kind(Enum):
    """Stores that a manifest can name."""

    TURBOPUFFER = "turbopuffer"
    PINECONE = "pinecone"
    SEARCH = "search"


class Secrets(Protocol):
    """Where secrets are."""

    def read(self, ref: SecretRef) -> bytes:
        """Return a secret; raises ``ConfigurationError`` when it is not there."""
        ...


class _Known(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """An object of which every field is known."""


class _SecretRef(_Known):
    name: str
    key: str


class _Credential(_Known):
    secret_ref: _SecretRef


class _Endpoint(_Known):
    url: str
    region: str


class _Turbopuffer(_Known):
    org_id: str


class _Key(_Known):
    name: str
    scopes: list[Scope]
    secret_ref: _SecretRef


class _InboundAuth(_Known):
    mode: InboundMode = InboundMode.DERIVE_FROM_STORE
    keys: list[_Key] = []


class _Spec(_Known):
    kind: Kind
    endpoint: _Endpoint
    default: bool = False
    credential: _Credential | None = None
    inbound_auth: _InboundAuth | None = None
    turbopuffer: _Turbopuffer | None = None


class _Metadata(msgspec.Struct):
    name: str


class _Resource(_Known):
    metadata: _Metadata
    spec: _Spec
    api_version: Literal["hevlayer.com/v1alpha1"] = API_VERSION
    kind: Literal["VectorStore"] = "VectorStore"
    status: Any = None


def read_manifests(text: str, *, source: str, secrets: Secrets) -> VectorStores:
    """Read the stores that ``text`` declares.

    Args:
        text: YAML or JSON.
        source: Where it came from, as the beginning of a message.

    Raises:
        ConfigurationError: When it cannot be used, in one line that names the place.
    """
    try:
        documents = [one for one in yaml.safe_load_all(text) if one is not None]
    except yaml.YAMLError as error:
        # What YAML quotes of the text might be a secret that somebody wrote into it.
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark else ""
        raise ConfigurationError(f"{source}: neither YAML nor JSON{where}") from error
    stores = []
    for at, resource in enumerate(_resources(documents)):
        label = f"{source}: {_label(resource, at)}"
        try:
            read = msgspec.convert(resource, _Resource)
        except msgspec.ValidationError as error:
            raise ConfigurationError(f"{label}: {error}") from error
        stores.append(_store(read, label, secrets))
    return VectorStores(_with_one_default(stores, source))


def read_file(path: str, *, source: str) -> str:
    """Return the text of a manifest's file; raises ``ConfigurationError``."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{source}: cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{source}: cannot read {path}: not UTF-8") from error


def _resources(documents: Iterable[object]) -> Iterator[object]:
    """Yield the resources in whatever they are wrapped in."""
    for document in documents:
        match document:
            case list():
                yield from _resources(document)
            case {"items": list(items)}:
                yield from _resources(items)
            case dict() if "spec" not in document and "kind" not in document:
                for name, spec in document.items():
                    yield {"metadata": {"name": name}, "spec": spec}
            case _:
                yield document


def _label(resource: object, at: int) -> str:
    """Name a resource in a message, by its own name if it has one."""
    match resource:
        case {"metadata": {"name": str(name)}}:
            return f"VectorStore {name}"
        case _:
            return f"VectorStore number {at + 1}"


def _store(read: _Resource, label: str, secrets: Secrets) -> VectorStore:
    spec = read.spec
    if not _NAME.fullmatch(read.metadata.name):
        raise ConfigurationError(f"{label}: metadata.name is not a name such as my-store-1")
    if spec.kind is not Kind.TURBOPUFFER:
        raise ConfigurationError(
            f"{label}: spec.kind {spec.kind.value} cannot be served; only turbopuffer can"
        )
    _check_url(spec.endpoint.url, label)
    credential, token = NO_SECRET, b""
    if spec.credential is not None:
        credential = _ref(spec.credential.secret_ref)
        token = _secret(credential, f"{label}: spec.credential.secretRef", secrets)
    return VectorStore(
        name=read.metadata.name,
        kind=spec.kind.value,
        url=spec.endpoint.url,
        region=spec.endpoint.region,
        org_id=spec.turbopuffer.org_id if spec.turbopuffer else "",
        is_default=spec.default,
        credential=credential,
        token=token,
        inbound=_inbound(spec.inbound_auth or _InboundAuth(), label, secrets, token),
    )


def _inbound(read: _InboundAuth, label: str, secrets: Secrets, token: bytes) -> InboundPolicy:
    where = f"{label}: spec.inboundAuth"
    if read.mode is not InboundMode.KEYS:
        if read.keys:
            raise ConfigurationError(f"{where}.keys mean nothing in mode {read.mode.value}")
        return InboundPolicy(mode=read.mode)
    if not token:
        raise ConfigurationError(
            f"{where}.mode keys needs spec.credential: keys of callers are not sent to the store"
        )
    if not 1 <= len(read.keys) <= KEYS_COUNT_MAX:
        raise ConfigurationError(f"{where}.keys needs 1 to {KEYS_COUNT_MAX} keys")
    keys: dict[bytes, StaticKey] = {}
    for at, key in enumerate(read.keys):
        place = f"{where}.keys[{at}]"
        if not key.name or not key.scopes:
            raise ConfigurationError(f"{place} needs a name and at least one scope")
        if key.name in {one.name for one in keys.values()}:
            raise ConfigurationError(f"{place}.name {key.name} is taken by a key before it")
        secret = _secret(_ref(key.secret_ref), f"{place}.secretRef", secrets)
        if secret in keys:
            raise ConfigurationError(f"{place} holds the same secret as key {keys[secret].name}")
        keys[secret] = StaticKey(name=key.name, scopes=frozenset(key.scopes), token=secret)
    return InboundPolicy(mode=read.mode, keys=tuple(keys.values()))


def _ref(read: _SecretRef) -> SecretRef:
    return SecretRef(name=read.name, key=read.key)


def _secret(ref: SecretRef, where: str, secrets: Secrets) -> bytes:
    try:
        return secrets.read(ref)
    except ConfigurationError as error:
        raise ConfigurationError(f"{where}: {error}") from error


def _check_url(url: str, label: str) -> None:
    try:
        parts = urlsplit(url)
        is_usable = parts.scheme in {"http", "https"} and bool(parts.hostname)
        has_user = "@" in parts.netloc
    except ValueError:
        is_usable = has_user = False
    if has_user:
        raise ConfigurationError(f"{label}: spec.endpoint.url must not hold a user or password")
    if not is_usable:
        raise ConfigurationError(f"{label}: spec.endpoint.url is not an http:// or https:// URL")


def _with_one_default(stores: list[VectorStore], source: str) -> list[VectorStore]:
    if not stores:
        raise ConfigurationError(f"{source}: declares no VectorStore")
    names = [store.name for store in stores]
    for name in names:
        if names.count(name) > 1:
            raise ConfigurationError(f"{source}: VectorStore {name} is declared twice")
    if len(stores) == 1:
        return [replace(stores[0], is_default=True)]
    defaults = [store.name for store in stores if store.is_default]
    if len(defaults) != 1:
        found = f"these are: {', '.join(defaults)}" if defaults else "none is"
        raise ConfigurationError(
            f"{source}: exactly one of several VectorStores must have spec.default true; {found}"
        )
    return stores
