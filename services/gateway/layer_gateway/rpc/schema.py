"""Schemas: typed messages, and the options that the store reads and shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from layer.gateway.v1 import gateway_pb2
from layer_kit.errors import InvalidRequestError
from layer_wire.jsontext import RawObject
from layer_wire.rows import read_answer

_TEXT_OPTIONS: Final = {
    "tokenizer": "tokenizer",
    "language": "language",
    "is_stemming": "stemming",
    "is_removing_stop_words": "remove_stopwords",
    "is_case_sensitive": "case_sensitive",
    "is_ascii_folding": "ascii_folding",
    "token_bytes_max": "max_token_length",
    "k1": "k1",
    "b": "b",
}
"""The store's name of each option of full-text search."""

SPARSE_PREFIX: Final = "{}"
SPARSE_INDEX: Final = {"distance_metric": "dot_product"}


class _Attribute(msgspec.Struct, frozen=True):
    type: str = ""
    filterable: bool | None = None
    full_text_search: bool | RawObject | None = None
    regex: bool | None = None
    glob: bool | None = None
    fuzzy: bool | None = None
    ann: bool | RawObject | None = None
    sparse_knn: bool | RawObject | None = None


_ATTRIBUTE: Final[msgspec.json.Decoder[str | _Attribute]] = msgspec.json.Decoder(str | _Attribute)


def schema_json(schema: Mapping[str, gateway_pb2.AttributeSchema]) -> dict[str, object]:
    """Return a schema as the store reads it.

    Raises:
        InvalidRequestError: ``SCHEMA_INVALID`` for an attribute without a type; what the type
            may be is the store's to say.
    """
    return {name: _attribute_json(name, found) for name, found in schema.items()}


def fill_schema(target: Any, schema: RawObject) -> None:
    """Set the entries of ``target``, a map of attribute schemas, from what the store shows."""
    for name, text in schema.items():
        _fill_attribute(target[name], read_answer(_ATTRIBUTE, bytes(text)))


def _attribute_json(name: str, found: gateway_pb2.AttributeSchema) -> dict[str, object]:
    if not found.type:
        raise InvalidRequestError(
            "SCHEMA_INVALID", f"schema[{name}] has no type.", where=f"schema[{name}]"
        )
    options: dict[str, object] = {"type": found.type}
    if found.HasField("is_filterable"):
        options["filterable"] = found.is_filterable
    if found.HasField("full_text_search"):
        options["full_text_search"] = _text_json(found.full_text_search)
    if found.is_regex_enabled:
        options["regex"] = True
    if found.is_glob_enabled:
        options["glob"] = True
    if found.is_fuzzy_enabled:
        options["fuzzy"] = True
    if found.is_vector_indexed:
        is_sparse = found.type.startswith(SPARSE_PREFIX)
        options |= {"sparse_knn": SPARSE_INDEX} if is_sparse else {"ann": True}
    return options


def _text_json(found: gateway_pb2.FullTextSearch) -> object:
    """Return the options that were said; all others are the store's defaults."""
    return {_TEXT_OPTIONS[field.name]: value for field, value in found.ListFields()} or True


def _fill_attribute(target: gateway_pb2.AttributeSchema, found: str | _Attribute) -> None:
    if isinstance(found, str):
        target.type = found
        return
    target.type = found.type
    if found.filterable is not None:
        target.is_filterable = found.filterable
    target.is_regex_enabled = bool(found.regex)
    target.is_glob_enabled = bool(found.glob)
    target.is_fuzzy_enabled = bool(found.fuzzy)
    target.is_vector_indexed = bool(found.ann or found.sparse_knn)
    if found.full_text_search is True:
        target.full_text_search.SetInParent()
    elif found.full_text_search:
        _fill_text(target.full_text_search, found.full_text_search)


def _fill_text(target: gateway_pb2.FullTextSearch, options: RawObject) -> None:
    target.SetInParent()
    for name, option in _TEXT_OPTIONS.items():
        if option in options and (value := msgspec.json.decode(options[option])) is not None:
            setattr(target, name, value)
