"""What manifests declare, and how a bad one is told in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from layer_gateway.adapters.manifests import read_file, read_manifests
from layer_gateway.adapters.secrets import EnvironmentSecrets, secret_variable
from layer_gateway.domain.access import Scope
from layer_gateway.domain.vectorstores import InboundMode, SecretRef, VectorStores
from layer_kit.configuration import ConfigurationError
from layer_kit.errors import NotFoundError

ENVIRONMENT = {
    "LAYER_SECRET_TPUF_API_KEY": "store-secret\n",
    "LAYER_SECRET_CALLERS_READER": "reader-secret",
    "LAYER_SECRET_CALLERS_WRITER": "writer-secret",
    "LAYER_SECRET_CALLERS_EMPTY": "  ",
}
ENDPOINT = {"url": "https://store.example", "region": "aws-us-east-1"}
CREDENTIAL = {"secretRef": {"name": "tpuf", "key": "api-key"}}
PLAIN = {"kind": "turbopuffer", "endpoint": ENDPOINT}
READER = {"name": "r", "scopes": ["read"], "secretRef": {"name": "callers", "key": "reader"}}
WRITER = {"name": "w", "scopes": ["write"], "secretRef": {"name": "callers", "key": "writer"}}


def resource(name: str = "main", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "hevlayer.com/v1alpha1",
        "kind": "VectorStore",
        "metadata": {"name": name, "labels": {"any": "thing"}},
        "spec": PLAIN | spec,
        "status": {"conditions": []},
    }


def keyed(*keys: object, **inbound: Any) -> dict[str, Any]:
    return resource(
        credential=CREDENTIAL, inboundAuth={"mode": "keys", "keys": list(keys)} | inbound
    )


def read(*documents: object) -> VectorStores:
    text = yaml.safe_dump_all(documents)
    return read_manifests(text, source="FILE", secrets=EnvironmentSecrets(ENVIRONMENT))


WRAPPED: dict[str, tuple[object, ...]] = {
    "several documents": (resource("b"), resource("a", default=True)),
    "a list": ([resource("b"), resource("a", default=True)],),
    "a List": (
        {"apiVersion": "v1", "kind": "List", "items": [resource("b"), resource("a", default=True)]},
    ),
    "a map": ({"b": PLAIN, "a": PLAIN | {"default": True}},),
}


@pytest.mark.parametrize("documents", WRAPPED.values(), ids=WRAPPED.keys())
def test_stores_come_in_any_wrapping_with_the_default_first(documents: tuple[object, ...]) -> None:
    stores = read(*documents)
    assert [store.name for store in stores] == ["a", "b"]
    assert stores.default.name == "a"
    assert stores.named("b").url == "https://store.example"
    with pytest.raises(NotFoundError, match="VectorStore x not found"):
        stores.named("x")


def test_json_is_read_as_well() -> None:
    text = msgspec.json.encode(resource()).decode()
    stores = read_manifests(text, source="JSON", secrets=EnvironmentSecrets({}))
    assert stores.default.name == "main"


def test_a_lone_store_is_the_default_and_lets_its_own_key_in() -> None:
    store = read(resource(credential=CREDENTIAL, turbopuffer={"orgId": "o"})).default
    assert (store.is_default, store.org_id, store.token) == (True, "o", b"store-secret")
    assert store.credential == SecretRef(name="tpuf", key="api-key")
    assert store.inbound.mode is InboundMode.DERIVE_FROM_STORE
    assert read(resource(inboundAuth={"mode": "open"})).default.inbound.mode is InboundMode.OPEN


def test_static_keys_have_their_scopes() -> None:
    policy = read(keyed(READER, WRITER)).default.inbound
    assert [(key.name, key.scopes, key.token) for key in policy.keys] == [
        ("r", {Scope.READ}, b"reader-secret"),
        ("w", {Scope.WRITE}, b"writer-secret"),
    ]


def test_no_secret_is_in_what_a_store_says_of_itself() -> None:
    told = repr(read(keyed(READER)).default)
    assert "turbopuffer" in told
    assert "secret" not in told.replace("SecretRef", "")


@pytest.mark.parametrize(
    ("name", "key", "variable"),
    [
        ("tpuf", "api-key", "LAYER_SECRET_TPUF_API_KEY"),
        ("my.store", "k/1", "LAYER_SECRET_MY_STORE_K_1"),
        ("é", "ß", "LAYER_SECRET___SS"),
    ],
)
def test_a_secret_has_its_variable(name: str, key: str, variable: str) -> None:
    assert secret_variable(SecretRef(name=name, key=key)) == variable


def test_a_secret_may_be_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("filed\n")
    ref = SecretRef(name="a", key="b")
    secrets = EnvironmentSecrets({"LAYER_SECRET_A_B_FILE": str(tmp_path / "key")})
    assert secrets.read(ref) == b"filed"
    missing = EnvironmentSecrets({"LAYER_SECRET_A_B_FILE": str(tmp_path / "none")})
    with pytest.raises(ConfigurationError, match="LAYER_SECRET_A_B_FILE: cannot read"):
        missing.read(ref)


OTHER_KEY = {"secretRef": {"name": "callers", "key": "none"}}
BAD: dict[str, tuple[tuple[object, ...], str]] = {
    "nothing": ((), "FILE: declares no VectorStore"),
    "an empty list": (({"items": []},), "FILE: declares no VectorStore"),
    "a text": (("turbopuffer",), "FILE: VectorStore number 1: Expected `object`, got `str`"),
    "another kind of resource": (
        (resource() | {"kind": "Index"},),
        "FILE: VectorStore main: Invalid enum value 'Index' - at `$.kind`",
    ),
    "another version": (
        (resource() | {"apiVersion": "v2"},),
        "FILE: VectorStore main: Invalid enum value 'v2' - at `$.apiVersion`",
    ),
    "a misspelt field": (
        (resource(inboundauth={"mode": "keys"}),),
        "FILE: VectorStore main: Object contains unknown field `inboundauth` - at `$.spec`",
    ),
    "a missing field": (
        (resource(endpoint={"url": "https://x"}),),
        "FILE: VectorStore main: Object missing required field `region` - at `$.spec.endpoint`",
    ),
    "a field of another type": (
        (resource(default="yes"),),
        "FILE: VectorStore main: Expected `bool`, got `str` - at `$.spec.default`",
    ),
    "no name": (({"metadata": {}, "spec": PLAIN},), "FILE: VectorStore number 1: Object missing"),
    "a bad name": (
        (resource("A b"),),
        "FILE: VectorStore A b: metadata.name is not a name such as my-store-1",
    ),
    "a kind to come": (
        (resource(kind="pinecone"),),
        "FILE: VectorStore main: spec.kind pinecone cannot be served; only turbopuffer can",
    ),
    "an unknown kind": (
        (resource(kind="sqlite"),),
        "FILE: VectorStore main: Invalid enum value 'sqlite' - at `$.spec.kind`",
    ),
    "no URL": (
        (resource(endpoint=ENDPOINT | {"url": "store.example"}),),
        "FILE: VectorStore main: spec.endpoint.url is not an http:// or https:// URL",
    ),
    "a broken URL": (
        (resource(endpoint=ENDPOINT | {"url": "http://[1"}),),
        "FILE: VectorStore main: spec.endpoint.url is not an http:// or https:// URL",
    ),
    "a password in the URL": (
        (resource(endpoint=ENDPOINT | {"url": "https://u:secret@x"}),),
        "FILE: VectorStore main: spec.endpoint.url must not hold a user or password",
    ),
    "a secret that is not there": (
        (resource(credential=OTHER_KEY),),
        "FILE: VectorStore main: spec.credential.secretRef: LAYER_SECRET_CALLERS_NONE is not set",
    ),
    "an empty secret": (
        (keyed(READER | {"secretRef": {"name": "callers", "key": "empty"}}),),
        "FILE: VectorStore main: spec.inboundAuth.keys[0].secretRef: LAYER_SECRET_CALLERS_EMPTY ",
    ),
    "keys without a credential": (
        (resource(inboundAuth={"mode": "keys", "keys": [READER]}),),
        "FILE: VectorStore main: spec.inboundAuth.mode keys needs spec.credential",
    ),
    "no keys": ((keyed(),), "FILE: VectorStore main: spec.inboundAuth.keys needs 1 to 1000 keys"),
    "keys that nobody asks for": (
        (keyed(READER, mode="open"),),
        "FILE: VectorStore main: spec.inboundAuth.keys mean nothing in mode open",
    ),
    "an unknown scope": (
        (keyed(READER | {"scopes": ["root"]}),),
        "FILE: VectorStore main: Invalid enum value 'root' - at `$.spec.inboundAuth.keys[",
    ),
    "no scope": (
        (keyed(READER, WRITER | {"scopes": []}),),
        "FILE: VectorStore main: spec.inboundAuth.keys[1] needs a name and at least one scope",
    ),
    "a name twice": (
        (keyed(READER, WRITER | {"name": "r"}),),
        "FILE: VectorStore main: spec.inboundAuth.keys[1].name r is taken by a key before it",
    ),
    "a secret twice": (
        (keyed(READER, READER | {"name": "other"}),),
        "FILE: VectorStore main: spec.inboundAuth.keys[1] holds the same secret as key r",
    ),
    "a store twice": (
        (resource(default=True), resource()),
        "FILE: VectorStore main is declared twice",
    ),
    "no default": (
        (resource("a"), resource("b")),
        "FILE: exactly one of several VectorStores must have spec.default true; none is",
    ),
    "two defaults": (
        (resource("a", default=True), resource("b", default=True)),
        "FILE: exactly one of several VectorStores must have spec.default true; these are: a, b",
    ),
}


@pytest.mark.parametrize(("documents", "message"), BAD.values(), ids=BAD.keys())
def test_a_bad_manifest_is_told_in_one_line(documents: tuple[object, ...], message: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        read(*documents)
    told = str(refused.value)
    assert told.startswith(message)
    assert "\n" not in told
    assert "secret@" not in told
    assert "-secret" not in told


def test_what_is_not_yaml_is_not_quoted() -> None:
    with pytest.raises(ConfigurationError) as refused:
        read_manifests("a: {b: [my-secret", source="FILE", secrets=EnvironmentSecrets({}))
    assert str(refused.value) == "FILE: neither YAML nor JSON in line 1"


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"FILE: cannot read .*: No such file"):
        read_file(str(tmp_path / "none"), source="FILE")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match=r"FILE: cannot read .*: not UTF-8"):
        read_file(str(tmp_path / "binary"), source="FILE")
