"""Reads schemas as users write them and shows them as the two routes answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, fields
from typing import Any, Final, Literal

from layer_vectorstore.domain.attribute_types import (
    ID_TYPES,
    STRING,
    STRINGS,
    AttributeType,
    Kind,
    find_type,
    is_vector_type,
)
from layer_vectorstore.domain.errors import RefusedError, dimensions_refused, malformed
from layer_vectorstore.domain.limits import ATTRIBUTE_NAME_BYTES_MAX
from layer_vectorstore.domain.schema import (
    ID,
    AttributeSchema,
    AttributeUpdate,
    FullTextSearch,
    Schema,
)
from layer_vectorstore.domain.vectors import Metric

TOKENIZERS: Final = ("word_v0", "word_v1", "word_v2", "word_v3", "word_v4", "pre_tokenized_array")
LANGUAGES: Final = [
    "arabic",
    "danish",
    "dutch",
    "english",
    "finnish",
    "french",
    "german",
    "greek",
    "hungarian",
    "italian",
    "norwegian",
    "portuguese",
    "romanian",
    "russian",
    "spanish",
    "swedish",
    "tamil",
    "turkish",
]
TOKEN_LENGTH_MAX: Final = 254
SATURATION_MAX: Final = 1e6


def parse_schema(value: object, path: str) -> dict[str, AttributeUpdate]:
    """Read a map of attributes.

    Args:
        value: From the body.
        path: What stands before an attribute's name in an error: ``schema.`` or nothing.

    Raises:
        MalformedError: ``BODY_MALFORMED``.
        RefusedError: When the options cannot go together.
    """
    if not isinstance(value, dict):
        raise malformed(path.rstrip("."), "invalid type: expected a map of attributes")
    updates = {}
    for name, config in value.items():
        check_attribute_name(name)
        update = _parse_attribute(name, config, f"{path}{name}")
        if name == ID:
            _check_id(update)
        updates[name] = update
    return updates


def check_attribute_name(name: str) -> None:
    if name.startswith("$") or not name:
        raise RefusedError(
            "ATTRIBUTE_NAME_INVALID",
            f"💔 invalid attribute name '{name}': must not be empty or start with `$`",
        )
    if len(name.encode()) > ATTRIBUTE_NAME_BYTES_MAX:
        raise RefusedError(
            "ATTRIBUTE_NAME_INVALID",
            f"💔 attribute names must be at most {ATTRIBUTE_NAME_BYTES_MAX} bytes long",
        )


def _check_id(update: AttributeUpdate) -> None:
    if update.drop:
        return
    if update.type not in ID_TYPES:
        raise RefusedError("ID_TYPE_INVALID", f"💔 {update.type} is not a valid ID type")


def _parse_type(text: object, path: str) -> AttributeType:
    found = find_type(text) if isinstance(text, str) else None
    if found is not None:
        return found
    if isinstance(text, str) and is_vector_type(text):
        raise dimensions_refused()
    raise _unmatched(path)


def _parse_attribute(name: str, config: object, path: str) -> AttributeUpdate:
    if isinstance(config, str):
        config = {"type": config}
    if not isinstance(config, dict):
        raise _unmatched(path)
    if config.get("drop") is True:
        return AttributeUpdate(drop=True)
    found = _parse_type(config.get("type"), path)
    if config.get("embed") is not None:
        raise RefusedError(
            "EMBED_UNSUPPORTED",
            f"💔 attribute '{name}': `embed` needs a hosted model, which this server does not have",
        )
    _check_vector_options(name, found, config, path)
    update = AttributeUpdate(
        type=found,
        filterable=_flag(config, "filterable", path),
        full_text_search=_parse_full_text(config.get("full_text_search"), name, found, path),
        regex=_flag(config, "regex", path),
        glob=_flag(config, "glob", path),
        fuzzy=_flag(config, "fuzzy", path),
    )
    for option in ("regex", "glob", "fuzzy"):
        if getattr(update, option) and not found.is_text:
            raise _option_refused(name, option, "string or []string", found)
    if update.filterable and found.kind not in (Kind.SCALAR, Kind.ARRAY):
        raise _option_refused(name, "filterable", "scalar or array", found)
    return update


def _check_vector_options(
    name: str, found: AttributeType, config: dict[str, Any], path: str
) -> None:
    ann = config.get("ann")
    if not isinstance(ann, bool | dict | None):
        raise _unmatched(path)
    match found.kind:
        case Kind.DENSE | Kind.LATE_INTERACTION:
            if ann is None or ann is False:
                raise RefusedError(
                    "ANN_REQUIRED",
                    "💔 the `vector` attribute must have `ann` set to `true`"
                    if name == "vector"
                    else f"💔 vector attribute '{name}' must have ann:true",
                )
        case Kind.SPARSE:
            sparse = config.get("sparse_knn")
            if sparse is not True and not (
                isinstance(sparse, dict)
                and sparse.get("distance_metric", "dot_product") == "dot_product"
            ):
                raise RefusedError(
                    "SPARSE_KNN_REQUIRED",
                    f"💔 sparse attribute '{name}' must have sparse_knn with the distance_metric "
                    "dot_product",
                )
        case _:
            if ann:
                raise _option_refused(name, "ann", "vector", found)


def _parse_full_text(
    value: object, name: str, found: AttributeType, path: str
) -> FullTextSearch | Literal[False] | None:
    if value is None or value is False:
        return value
    if value is True:
        value = {}
    if not isinstance(value, dict):
        raise _unmatched(path)
    if found not in (STRING, STRINGS):
        raise _option_refused(name, "full_text_search", "string or []string", found)
    known = {field.name for field in fields(FullTextSearch)}
    options = {key: item for key, item in value.items() if key in known and item is not None}
    for key, item in options.items():
        if not _FULL_TEXT_CHECKS[key](item):
            raise malformed(f"{path}.full_text_search.{key}", f"invalid value `{item}`")
    result = FullTextSearch(**options)
    if result.tokenizer == "pre_tokenized_array" and found != STRINGS:
        raise RefusedError(
            "TOKENIZER_INVALID",
            f"💔 attribute '{name}': the pre_tokenized_array tokenizer needs the type []string",
        )
    if result.case_sensitive and (result.stemming or result.remove_stopwords):
        raise RefusedError(
            "FULL_TEXT_OPTIONS_CONFLICT",
            f"💔 attribute '{name}': stemming and remove_stopwords need case_sensitive to be false",
        )
    return result


def schema_answer(schema: Schema) -> dict[str, dict[str, Any]]:
    """Return the schema as ``GET /v1/namespaces/{ns}/schema`` does: absent options are null."""
    answer = {}
    for name, found in schema.attributes.items():
        shown: dict[str, Any] = {"type": str(found.type)}
        if found.is_vector:
            shown["ann"] = True
        if found.type.kind is Kind.SPARSE:
            shown["sparse_knn"] = {"distance_metric": "dot_product"}
        is_plain = name == ID or found.type.kind not in (Kind.SCALAR, Kind.ARRAY)
        shown["filterable"] = None if is_plain else found.is_filterable
        shown["full_text_search"] = _full_text_answer(found)
        answer[name] = shown | _pattern_options(found)
    return answer


def metadata_schema_answer(schema: Schema, metric: Metric | None) -> dict[str, dict[str, Any]]:
    """Return the schema as the metadata routes do: only options that are set."""
    answer = {}
    for name, found in schema.attributes.items():
        shown: dict[str, Any] = {"type": str(found.type)}
        if found.is_vector:
            shown["ann"] = {"distance_metric": str(metric or Metric.COSINE)}
        elif found.type.kind is Kind.SPARSE:
            shown["sparse_knn"] = {"distance_metric": "dot_product"}
        elif name != ID:
            shown["filterable"] = found.is_filterable
        if found.full_text_search:
            shown["full_text_search"] = _full_text_answer(found)
        answer[name] = shown | _pattern_options(found)
    return answer


def _full_text_answer(found: AttributeSchema) -> dict[str, Any] | None:
    return asdict(found.full_text_search) if found.full_text_search else None


def _pattern_options(found: AttributeSchema) -> dict[str, bool]:
    return {option: True for option in ("regex", "glob", "fuzzy") if getattr(found, option)}


def _flag(config: dict[str, Any], option: str, path: str) -> bool | None:
    value = config.get(option)
    if value is None or isinstance(value, bool):
        return value
    raise _unmatched(path)


def _unmatched(path: str) -> Exception:
    return malformed(path, "data did not match any variant of untagged enum AttributeSchemaInput")


def _option_refused(name: str, option: str, wanted: str, found: AttributeType) -> RefusedError:
    return RefusedError(
        "ATTRIBUTE_OPTION_INVALID",
        f"💔 attribute '{name}': `{option}` needs a {wanted} type, but the type is {found}",
    )


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_saturation(value: Any) -> bool:
    return _is_number(value) and 0 < value <= SATURATION_MAX


_FULL_TEXT_CHECKS: Final[dict[str, Callable[[Any], bool]]] = {
    "tokenizer": lambda value: value in TOKENIZERS,
    "language": lambda value: value in LANGUAGES,
    "stemming": _is_flag,
    "remove_stopwords": _is_flag,
    "case_sensitive": _is_flag,
    "ascii_folding": _is_flag,
    "max_token_length": lambda value: (
        _is_number(value) and isinstance(value, int) and 1 <= value <= TOKEN_LENGTH_MAX
    ),
    "k1": _is_saturation,
    "b": lambda value: _is_number(value) and 0 <= value <= 1,
    "k3": _is_saturation,
}
